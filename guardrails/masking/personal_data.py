"""The config of the guardrail kind `personal_data`, and the checks that it builds.

It is separate from the search and masking code, because patterns are slow to compile and a config is validated before
any text is searched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from pydantic import Field

from config.document import Path
from config.findings import did_you_mean, quote
from config.guardrails import Form, KindName, Side
from config.raw import OptionConflict, RawConfig, mapping
from config.secret import Secret
from config.struct import Flag
from config.units import Duration
from guardrails.component import Guardrail, GuardrailParts

if TYPE_CHECKING:
    from guardrails.checks import AnswerCheck, AnswerFinder
    from guardrails.masking.guard import PersonalGuard
    from guardrails.personal.search import PersonalSearch

PersonalAction: TypeAlias = Literal["mask", "block", "flag", "allow"]

# Types with a pattern, and types that only the tagger finds.
PATTERN_TYPES = (
    "email", "phone", "card", "iban", "us_ssn", "uk_nino", "uk_nhs", "de_tax_id", "fr_nir", "es_dni", "it_fiscal",
    "nl_bsn", "in_aadhaar", "in_pan", "national_id", "passport", "driver_licence", "ip", "mac", "url_credentials",
    "date_of_birth",
)  # fmt: skip
TAGGED_TYPES = ("person", "address", "organisation", "location")
_ALLOWED_BY_DEFAULT = ("organisation", "location")
_MIN_KEY_CHARACTERS = 32
# The key for tags if none is configured; different in each process.
_PROCESS_SECRET = secrets.token_hex(32)


class PersonalDataConfig(Guardrail):
    """Masks personal data in requests and restores it in answers; checks answers for data the caller did not send."""

    masks: ClassVar[bool] = True
    without_extra: ClassVar[str] = "mask only types with a pattern: types: {person: allow, address: allow}"

    kind: Literal["personal_data"] = Field(description="Personal data, masked reversibly.")
    types: dict[KindName, PersonalAction] = Field(
        default={},
        description="What to do with each type; the default is `mask`, for organisation and location `allow`. "
        + "Types: " + ", ".join((*PATTERN_TYPES, *TAGGED_TYPES)) + ", and those of `patterns`, `lists` and `presidio`.",
        examples=["{email: mask, card: block, organisation: allow}"],
    )  # fmt: skip
    patterns: dict[KindName, Form] = Field(
        default={}, description="Your own types, as regular expressions.", examples=['{ticket: "TCK-[0-9]{6}"}']
    )
    lists: dict[KindName, tuple[str, ...]] = Field(default={}, description="Your own types, as lists of words.")
    presidio: tuple[KindName, ...] = Field(
        default=(),
        description="Types that Presidio's recognisers find, by their names in lower case; needs presidio-analyzer.",
        examples=["[crypto, us_itin, medical_license]"],
    )
    languages: tuple[str, ...] = Field(
        default=("en",), min_length=1, description="The languages of Presidio's recognisers."
    )
    tools: tuple[str, ...] = Field(
        default=(), description="Tools whose arguments get the real values; `*` means all. Other tools get tags."
    )
    key: Secret | None = Field(
        default=None,
        description="The key that the tags are derived from. Without it they change at each restart.",
        examples=["${GATEHOUSE_MASKING_KEY}"],
    )
    keep: Duration = Field(
        default=86_400.0,
        description="How long the values of a conversation named in `x-gatehouse-conversation` are stored, encrypted, "
        "after its last turn.",
    )
    hint: Flag = Field(default=True, description="Whether a system message explains tags to the model.")

    @property
    def names_in_answers(self) -> frozenset[str]:
        """The tagger's types that the config names explicitly: these are also searched in answers."""
        return frozenset(name for name in TAGGED_TYPES if self.types.get(name, "allow") != "allow")

    @property
    def actions(self) -> dict[str, PersonalAction]:
        """What to do with each type."""
        every = (*PATTERN_TYPES, *TAGGED_TYPES, *self.patterns, *self.lists, *self.presidio)
        return {
            name: self.types.get(name, "allow" if name in _ALLOWED_BY_DEFAULT else "mask")
            for name in dict.fromkeys(every)
        }

    @property
    def types_shown(self) -> dict[str, str]:
        """See `GuardrailConfig.types_shown`."""
        return dict(self.types)

    def holds_back(self, side: Side) -> str:
        """See `GuardrailConfig.holds_back`."""
        if side == "input":
            return "of the answer, what may become a tag"
        return "a sentence" if self.names_in_answers else super().holds_back(side)

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The model that finds persons and addresses (unless allowed), organisations and locations (if configured)."""
        types = mapping(values.get("types"))
        defaults = {name: "allow" if name in _ALLOWED_BY_DEFAULT else "mask" for name in TAGGED_TYPES}
        if any(types.get(name, action) != "allow" for name, action in defaults.items()):
            yield ("kind",), "embeddings"

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """A type that does not exist."""
        presidio = values.get("presidio")
        own = [*mapping(values.get("patterns")), *mapping(values.get("lists"))]
        own += presidio if isinstance(presidio, (list, tuple)) else []
        known = sorted({*PATTERN_TYPES, *TAGGED_TYPES, *map(str, own)})
        for each in mapping(values.get("types")):
            if each not in known:
                cure = f"{did_you_mean(each, known)}, or add it to patterns".replace("?, or", "? Or")
                yield OptionConflict((*path, "types", each), f"there is no type {quote(each)}", cure, at_key=True)

    def remarks(self) -> Iterator[tuple[Path, str, str]]:
        """See `GuardrailConfig.remarks`."""
        if self.key is not None and len(self.key.reveal()) < _MIN_KEY_CHARACTERS:
            message = "this key is too short: an attacker could guess it and recover the masked values"
            yield ("key",), message, f"use {_MIN_KEY_CHARACTERS} characters or more: openssl rand -hex 32"

    def request_check(self, name: str, parts: GuardrailParts) -> PersonalGuard:
        """See `Guardrail.request_check`."""
        import structlog

        from guardrails.masking.conversations import Conversations
        from guardrails.masking.guard import PersonalGuard, derive

        if self.key is None:
            structlog.get_logger().warning(
                "masking without a key: tags change at each restart and differ between replicas",
                guardrail=name,
            )
        secret = derive(self.key.reveal() if self.key is not None else _PROCESS_SECRET)
        return PersonalGuard(
            self._search(parts, names=True),
            self.policy(name, parts, self._by_kind()),
            secret,
            self.tools,
            hint=self.hint,
            conversations=Conversations(parts.rows(), secret, self.keep),
        )

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder:
        """See `Guardrail.stream_check`."""
        from guardrails.spans import SpanGuard

        return SpanGuard(
            _PatternFinder(self._search(parts)), self.policy(name, parts, self._by_kind()), spares_sent=True
        )

    def sentence_check(self, name: str, parts: GuardrailParts) -> AnswerCheck | None:
        """See `Guardrail.sentence_check`: checks names and addresses that the caller did not send."""
        if not self.names_in_answers:
            return None
        from guardrails.masking.answers import NamesInAnswers
        from guardrails.personal.search import PersonalSearch
        from guardrails.sentences import SentenceGuard
        from guardrails.slices import Slicer

        kinds = frozenset(kind.upper() for kind in self.names_in_answers)
        search = PersonalSearch(kinds, thread=parts.tagger(), slicer=Slicer(parts.pools.searches))
        return SentenceGuard(NamesInAnswers(search), self.policy(name, parts, self._by_kind()))

    def _by_kind(self) -> dict[str, str]:
        return {kind.upper(): action for kind, action in self.actions.items()}

    def _search(self, parts: GuardrailParts, *, names: bool = False) -> PersonalSearch:
        """The search for all configured types; without `names` only types with a pattern, for streamed answers."""
        from guardrails.personal.search import PersonalSearch
        from guardrails.slices import Slicer

        wanted = frozenset(kind for kind, action in self._by_kind().items() if action != "allow")
        patterns = {kind.upper(): pattern for kind, pattern in self.patterns.items()}
        lists = {kind.upper(): words for kind, words in self.lists.items()}
        presidio = None
        if self.presidio:
            from guardrails.personal.presidio import PresidioFinder

            presidio = PresidioFinder(self.presidio, self.languages)
        tagged = {each.upper() for each in TAGGED_TYPES}
        thread = parts.tagger() if names and wanted & tagged else None
        return PersonalSearch(wanted, patterns, lists, thread, presidio, Slicer(parts.pools.searches))


class _PatternFinder:
    """Finds types with a pattern, synchronously. Implements `guardrails.checks.Finder`."""

    def __init__(self, search: PersonalSearch) -> None:
        self.find = search.search
