"""Detects prompt injection: by the user, or in retrieved content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from config.document import Path
from config.findings import quote
from config.guardrails import Author, Position
from config.struct import Flag, Number, Ref
from contract.work import WorkPool
from guardrails.classified import ClassifierGuard
from guardrails.component import GuardrailParts
from guardrails.injection_rules import SIZE, InjectionFinder, features
from guardrails.judges.attack import AttackJudge
from guardrails.judges.grounds import SENTENCE
from guardrails.linear import LinearClassifier, load_classifier
from guardrails.slices import Slicer
from guardrails.span import Span, TakenSpans
from guardrails.spans import TextGuardrail
from guardrails.untrusted_content import REMOVED, IndirectInjectionGuard

if TYPE_CHECKING:
    from contract.guards import AskAgain
    from guardrails.checks import AnswerFinder, InputCheck
    from guardrails.embedding_memo import EmbeddingMemo

_INLINE_CHARACTERS = 4000


class InjectionConfig(TextGuardrail):
    """Attempts to override the model's instructions, by the user or in retrieved content."""

    renamed: ClassVar[Mapping[str, str]] = {"grey": "uncertain_range", "outside": "untrusted_content"}

    kind: Literal["injection"] = Field(description="Prompt injection and jailbreaks.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    texts: tuple[Author, ...] = Field(
        default=("user",), description="Which texts of a request are searched, by author."
    )
    threshold: Number = Field(default=0.5, ge=0, le=1, description="The minimum score of an attack.")
    judge: Annotated[str, Ref("models", "model")] | None = Field(
        default=None,
        description="A model that decides uncertain cases. It gets the request after the preceding guardrails.",
    )
    uncertain_range: tuple[Number, Number] = Field(
        default=(0.2, 0.8), description="The range of scores that `judge` decides: from the first up to the second."
    )
    mark: Flag = Field(
        default=True,
        description="Whether a system message tells the model not to follow instructions in tool results and passages.",
    )
    untrusted_content: Literal["remove", "block", "pass"] = Field(
        default="remove",
        description="Instructions in tool results and passages: remove the sentence, apply `then`, or let it pass.",
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The embedding model."""
        yield ("kind",), "embeddings"

    @classmethod
    def misplaced(cls, values: Mapping[str, Any], position: Position) -> Iterator[tuple[str, str]]:
        """The judge must not see values that a later guardrail masks."""
        later = [name for name, struct in position.later.items() if struct.masks]
        if values.get("judge") and later:
            message = f"its judge would see values that {quote(later[0])} masks only later"
            yield message, f"put {later[0]} before {position.name}"
        yield from super().misplaced(values, position)

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        judge = AttackJudge(self.judge) if self.judge is not None else None
        slicer = Slicer(parts.pools.searches, SIZE)
        model = load_classifier("injection")
        classifier = InjectionClassifier(self.threshold, model, parts.embeddings(), judge, self.uncertain_range, slicer)
        policy = self.policy(name, parts)
        authors = self.authors - {"label", "definition"}
        if self.untrusted_content == "block":
            return ClassifierGuard(classifier, policy, authors | {"tool"}, passages=True)
        guard = ClassifierGuard(classifier, policy, authors)
        removes = self.untrusted_content == "remove"
        return IndirectInjectionGuard(classifier, guard, mark=self.mark) if removes else guard

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder | None:
        """None: it does not check answers."""
        return None


class InjectionClassifier:
    """Combines rules over every reading of a text with a linear model over its embedding and the rules' results."""

    def __init__(
        self,
        threshold: float,
        model: LinearClassifier,
        vectors: EmbeddingMemo,
        judge: AttackJudge | None = None,
        grey: tuple[float, float] = (0.0, 0.0),
        slicer: Slicer | None = None,
    ) -> None:
        """`threshold` from 0 to 1: at 0.5 about 1 % of ordinary prompts are flagged.

        `judge` decides scores in the range `grey`; `slicer` searches texts that are too long for the event loop.
        """
        self._slicer = slicer or Slicer(WorkPool("searches"), SIZE)
        self._judge = judge
        self._grey = grey
        self._finder = InjectionFinder(0.0)
        self._threshold = threshold
        self._model = model
        self._vectors = vectors

    async def rules(self, text: str, again: AskAgain | None = None, caller: str = "") -> list[str]:
        """See `Classifier.rules`: the rules that match, or `likeness` if only the model detects an attack."""
        spans = await self._spans(text, caller)
        return (
            (sorted({span.kind for span in spans}) or ["likeness"]) if await self._is_attack(text, spans, again) else []
        )

    async def cleaned(self, text: str, again: AskAgain | None = None, caller: str = "") -> str | None:
        """See `guardrails.untrusted_content.Cleaner`: removes the sentences that contain instructions."""
        spans = await self._spans(text, caller)
        # In data, similarity to an attack is not enough: a rule must match too.
        if max((span.score for span in spans), default=0.0) < self._threshold or not await self._is_attack(
            text, spans, again
        ):
            return None
        return _without(text, spans)

    async def _spans(self, text: str, caller: str) -> list[Span]:
        if len(text) <= _INLINE_CHARACTERS:
            return self._finder.find_in_part(text)
        return (await self._slicer.find(caller, self._finder.find_in_part, [text])).get(text, [])

    async def _is_attack(self, text: str, spans: list[Span], again: AskAgain | None) -> bool:
        ruled = features(spans)
        scores = [self._model.score([*vector, *ruled]) for vector in await self._vectors.of(text)]
        score = max(scores, default=0.0)
        if self._judge is not None and again is not None and self._grey[0] <= score < self._grey[1]:
            return await self._judge.is_attack(text, again)
        # A high score of the rules alone is enough.
        return score >= self._threshold or ruled[0] >= max(0.8, self._threshold)


def _without(text: str, spans: Sequence[Span]) -> str:
    """The text without the sentences that contain a span. A long word, such as base64, is removed on its own."""
    words = [span for span in spans if _is_one_word(text, span)]
    instructions = TakenSpans(sorted(span for span in spans if not _is_one_word(text, span)))
    cuts = [match.span() for match in SENTENCE.finditer(text) if not instructions.is_free(*match.span())]
    cuts += [(span.start, span.end) for span in words]
    parts: list[str] = []
    place = 0
    for start, end in sorted(cuts):
        if start >= place:
            parts += [text[place:start], REMOVED]
        place = max(place, end)
    return "".join([*parts, text[place:]])


def _is_one_word(text: str, span: Span) -> bool:
    word = text[span.start : span.end]
    return len(word) >= _LONG_WORD and len(word.split()) == 1


_LONG_WORD = 16
