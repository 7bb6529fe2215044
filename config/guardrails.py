"""`guardrails`: checks on what goes in and what comes out. The kind is read first, then the kind's own options."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from config.findings import wrong
from config.secret import Secret, SecretUrl
from config.struct import Checked, Component, Flag, Number, Read, Ref, Whole, or_one
from config.units import Duration, Percentage

Author: TypeAlias = Literal["system", "user", "assistant", "tool"]
PersonalAction: TypeAlias = Literal["mask", "block", "flag", "allow"]

# What has a form, and what only the tagger finds.
PATTERN_TYPES = (
    "email", "phone", "card", "iban", "us_ssn", "uk_nino", "uk_nhs", "de_tax_id", "fr_nir", "es_dni", "it_fiscal",
    "nl_bsn", "in_aadhaar", "in_pan", "national_id", "passport", "driver_licence", "ip", "mac", "url_credentials",
    "date_of_birth",
)  # fmt: skip
TAGGED_TYPES = ("person", "address", "organisation", "location")
MIN_EXAMPLES = 20
_ALLOWED_AT_FIRST = ("organisation", "location")
_STEP = re.compile(r"(flag|mask|block|repair|human)|(retry|parallel) ([1-9])|(model) (\S+)|(say) (.+)", re.DOTALL)


def parse_step(text: str) -> tuple[str, str]:
    """(`retry`, `2`) of `retry 2`, (`say`, the text), (`block`, ``). Raises `ValueError`."""
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    name, *rest = [group for group in match.groups() if group is not None]
    return name, rest[0] if rest else ""


def _step(value: str) -> str:
    try:
        parse_step(value)
    except ValueError:
        cure = "write flag, mask, block, repair, retry 1, parallel 2, model NAME, say TEXT or human"
        raise wrong("{value} is nothing that a guardrail can do", cure) from None
    return value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _form(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise wrong("{value} is no regular expression", f"{error}") from None
    return value


def _kind_name(value: str) -> str:
    if re.fullmatch(r"[a-z]+(?:_[a-z]+)*", value) is None:
        raise wrong("a type is made of lower-case letters and underscores", "write it like ticket or member_id")
    return value


_STEPS = r"^\s*((flag|mask|block|repair|human)|(retry|parallel) [1-9]|model \S+|say [\s\S]+)\s*$"
Then = Annotated[tuple[Annotated[str, Checked(_step, _STEPS)], ...], Read(_listed, or_one)]
KindName = Annotated[str, Checked(_kind_name, r"^[a-z]+(_[a-z]+)*$")]
Form = Annotated[str, AfterValidator(_form)]


class GuardrailBase(Component):
    """What every guardrail has."""

    # Where it may stand, and what it may do about what it finds.
    sides: ClassVar[frozenset[str]] = frozenset({"input", "output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block", "say", "human"})

    kind: str = Field(description="What it looks for.")
    shadow: Flag = Field(default=False, description="Only record what it would have done.")
    on_error: Literal["closed", "open"] = Field(
        default="closed", description="What it means when it breaks or is too slow: refuse with 503, or let pass."
    )
    timeout: Duration = Field(default=5.0, description="How long it may take.")
    webhook: SecretUrl | None = Field(
        default=None, description="Where `human` is told, as JSON with the request's id and the reason."
    )

    @model_validator(mode="after")
    def _can_do_so(self) -> GuardrailBase:
        for step in getattr(self, "then", ()):
            name, _ = parse_step(step)
            if name not in self.steps:
                raise wrong(
                    f"a guardrail of kind {self.kind} can't {name}", f"choose among {', '.join(sorted(self.steps))}"
                )
        return self


class PersonalDataConfig(GuardrailBase):
    """Personal data, masked with tags that are undone in the answer; on the way out, what the caller did not send."""

    kind: Literal["personal_data"] = Field(description="Personal data, masked reversibly.")
    types: dict[KindName, PersonalAction] = Field(
        default={},
        description="What to do with each type; `mask` unless said, `allow` for organisation and location. "
        + "Types: " + ", ".join((*PATTERN_TYPES, *TAGGED_TYPES)) + ", and those of `patterns`, `lists` and `presidio`.",
        examples=["{email: mask, card: block, organisation: allow}"],
    )  # fmt: skip
    patterns: dict[KindName, Form] = Field(
        default={}, description="Types of your own, by regular expression.", examples=['{ticket: "TCK-[0-9]{6}"}']
    )
    lists: dict[KindName, tuple[str, ...]] = Field(default={}, description="Types of your own, by their words.")
    presidio: tuple[KindName, ...] = Field(
        default=(),
        description="Types to take from Presidio's recognisers, by its names in lower case; needs presidio-analyzer.",
        examples=["[crypto, us_itin, medical_license]"],
    )
    languages: tuple[str, ...] = Field(default=("en",), min_length=1, description="Of Presidio's recognisers.")
    tools: tuple[str, ...] = Field(
        default=(), description="Tools whose arguments get the real values; `*` means all. Others get tags."
    )
    key: Secret | None = Field(
        default=None,
        description="What the tags are made with. Without it they change when the process starts anew.",
        examples=["${GATEHOUSE_MASKING_KEY}"],
    )
    keep: Duration = Field(
        default=86_400.0,
        description="How long the values of a conversation that callers name in `x-gatehouse-conversation` are kept, "
        "encrypted, after its last turn.",
    )
    hint: Flag = Field(default=True, description="Whether the model is told in a line what tags are.")

    @property
    def names_in_answers(self) -> frozenset[str]:
        """The types that only the tagger finds, where they are asked for by name: those are looked for in answers."""
        return frozenset(name for name in TAGGED_TYPES if self.types.get(name, "allow") != "allow")

    @property
    def actions(self) -> dict[str, PersonalAction]:
        """What to do with each type."""
        every = (*PATTERN_TYPES, *TAGGED_TYPES, *self.patterns, *self.lists, *self.presidio)
        return {
            name: self.types.get(name, "allow" if name in _ALLOWED_AT_FIRST else "mask")
            for name in dict.fromkeys(every)
        }


class TextGuardrail(GuardrailBase):
    """What a guardrail that searches texts has."""

    then: Then = Field(default=("block",), description="What happens: flag, mask, block, say TEXT or human.")
    texts: tuple[Author, ...] = Field(
        default=("system", "user", "assistant", "tool"), description="Whose words of a request are searched."
    )


class SecretsConfig(TextGuardrail):
    """Keys, tokens, private keys, connection strings; masked ones are lost."""

    kind: Literal["secrets"] = Field(description="Keys, tokens, private keys, connection strings.")
    own: tuple[Secret, ...] = Field(default=(), description="Your own secrets, to be found in any text.")


class KeywordsConfig(TextGuardrail):
    """Words of your own, with their inflections."""

    kind: Literal["keywords"] = Field(description="Words of your own, with their inflections.")
    lists: dict[KindName, tuple[str, ...]] = Field(
        min_length=1,
        description="Words and phrases, by the name of what they stand for.",
        examples=["{project: [Bluebird]}"],
    )
    exact: Flag = Field(default=False, description="No inflections.")


class InjectionConfig(TextGuardrail):
    """Attempts to make the model forget its instructions, by the user or from what was retrieved."""

    kind: Literal["injection"] = Field(description="Attempts to override the instructions, jailbreaks.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    texts: tuple[Author, ...] = Field(default=("user",), description="Whose words of a request are searched.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="How sure it must be.")
    judge: Annotated[str, Ref("models", "model")] | None = Field(
        default=None,
        description="A model that decides where it is not sure. It sees what the guardrails before it left.",
    )
    grey: tuple[Number, Number] = Field(
        default=(0.2, 0.8), description="The scores, from and below, that `judge` decides."
    )
    mark: Flag = Field(
        default=True, description="Whether the model is told in a line that tool results and passages are no orders."
    )
    outside: Literal["remove", "block", "pass"] = Field(
        default="remove",
        description="Orders in tool results and passages: take the sentence out, do what `then` says, or pass.",
    )


class TopicConfig(GuardrailBase):
    """What an app is there for, learned from examples when it starts."""

    needs = (("allowed",), ("denied",))

    kind: Literal["topic"] = Field(description="Questions that are off the app's topics.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "block", "say", "human"})
    allowed: tuple[str, ...] = Field(
        default=(), description="Questions that it should answer, 20 or more, as its users ask them."
    )
    denied: tuple[str, ...] = Field(
        default=(), description="Questions that it should not answer, whatever they resemble."
    )
    false_refusals: Percentage = Field(
        default=0.05, description="The share of questions like the allowed ones that may be refused."
    )
    then: Then = Field(
        default=("say I can't help with that.",), description="What happens: flag, block, say TEXT or human."
    )

    @model_validator(mode="after")
    def _enough(self) -> TopicConfig:
        if not self.allowed and not self.denied:
            raise wrong("there are no examples", "list questions under allowed or denied")
        if self.allowed and len(self.allowed) < MIN_EXAMPLES:
            raise wrong(
                f"{len(self.allowed)} examples are too few to learn from", f"give {MIN_EXAMPLES} or more under allowed"
            )
        return self


class FormatGuardrail(GuardrailBase):
    """What a guardrail that checks an answer's form has."""

    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset(
        {"flag", "repair", "retry", "parallel", "model", "block", "say", "human"}
    )
    then: Then = Field(
        default=("repair", "retry 1", "block"),
        description="What to try, in order: repair, retry N (with the reason), parallel N, model NAME, say TEXT, "
        "human, block; flag lets it pass.",
    )


class FormatConfig(FormatGuardrail):
    """The answer must be of a form: JSON, JSON of a schema, YAML, SQL, Python, one of some choices, a pattern."""

    kind: Literal["format"] = Field(description="The answer's form.")
    must_be: Literal["json", "yaml", "sql", "python", "choice", "pattern"] = Field(description="The form.")
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON schema, for json and yaml."
    )
    choices: tuple[str, ...] = Field(default=(), description="The answers that are allowed, for choice.")
    pattern: Form = Field(default="", description="A regular expression that the whole answer matches, for pattern.")
    dialect: str = Field(default="", description="The SQL dialect, such as postgres; empty takes what is common.")

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema as plain JSON."""
        return None if self.schema_ is None else json.loads(json.dumps(self.schema_))

    @model_validator(mode="after")
    def _whole(self) -> FormatConfig:
        for form, key in (("choice", "choices"), ("pattern", "pattern")):
            if self.must_be == form and not getattr(self, key):
                raise wrong(f"{key} is missing", f"must_be: {form} needs it")
        return self


class PromptLeakConfig(GuardrailBase):
    """The answer must not hold the system prompt."""

    kind: Literal["prompt_leak"] = Field(description="Eight words in a row of the system prompt, in an answer.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    then: Then = Field(default=("block",), description="What happens: flag, mask or block.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})


class JudgeConfig(FormatGuardrail):
    """The answer must keep to a rubric, in the judgement of a model."""

    kind: Literal["judge"] = Field(description="A rubric, in the judgement of a model.")
    model: Annotated[str, Ref("models", "model")] = Field(description="The model that judges.", examples=["judge"])
    rubric: str = Field(min_length=1, description="What an answer must keep to, in words.")
    timeout: Duration = Field(default=20.0, description="How long it may take.")
    then: Then = Field(default=("retry 1", "block"), description="What to try, in order.")


class GroundedConfig(FormatGuardrail):
    """Every statement of the answer must stand in the passages that were retrieved for it."""

    kind: Literal["grounded"] = Field(description="Statements that the retrieved passages don't support.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="How likely a statement must be to be supported.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "parallel", "model", "block", "say", "human"})
    then: Then = Field(default=("retry 1", "flag"), description="What to try, in order.")


class ToxicityConfig(GuardrailBase):
    """Insults, hate and threats, of the user's or of the model's."""

    kind: Literal["toxicity"] = Field(description="Insults, hate, threats.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="How sure it must be.")
    texts: tuple[Author, ...] = Field(default=("user",), description="Whose words of a request are judged.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "parallel", "model", "block", "say", "human"})
    then: Then = Field(
        default=("block",),
        description="What happens; on the way in only flag, block, say TEXT or human, on the way out a list.",
    )


class AnomalyConfig(GuardrailBase):
    """Prompts unlike those that the app's users send. They are only noted."""

    kind: Literal["anomaly"] = Field(description="Prompts unlike the app's own traffic; only noted.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag"})
    after: Whole = Field(default=200, ge=10, description="How many prompts of an app it must have seen first.")
    share: Percentage = Field(default=0.01, description="The share of usual prompts that may be noted.")
    on_error: Literal["closed", "open"] = Field(
        default="open", description="What it means when it breaks or is too slow: refuse with 503, or let pass."
    )


class BrandConfig(GuardrailBase):
    """Brands in answers: one's own spoken of badly, competitors spoken of well."""

    needs = (("own",), ("competitors",))

    kind: Literal["brand"] = Field(description="One's own brand spoken of badly, competitors spoken of well.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})
    own: tuple[str, ...] = Field(default=(), description="Your own names.")
    competitors: tuple[str, ...] = Field(default=(), description="The names of others.")
    when_own: Literal["negative", "any"] = Field(default="negative", description="When your own names are found.")
    when_competitor: Literal["positive", "any"] = Field(default="any", description="When others' names are found.")
    then: Then = Field(default=("flag",), description="What happens: flag, mask the name, or block.")

    @model_validator(mode="after")
    def _named(self) -> BrandConfig:
        if not self.own and not self.competitors:
            raise wrong("there are no names", "list them under own or competitors")
        return self


class ConsistentConfig(FormatGuardrail):
    """The model must say the same when it is asked again."""

    kind: Literal["consistent"] = Field(description="Statements that differ each time the model is asked.")
    samples: Whole = Field(default=2, ge=1, le=8, description="How many more answers to ask for; each costs a call.")
    share: Percentage = Field(default=0.5, description="The share of samples that must support a statement.")
    threshold: Number = Field(default=0.5, ge=0, le=1, description="How likely a statement must be to be supported.")
    timeout: Duration = Field(default=30.0, description="How long it may take.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "retry", "parallel", "model", "block", "say", "human"})
    then: Then = Field(default=("flag",), description="What to try, in order.")


class HandoverConfig(GuardrailBase):
    """A conversation that should go to a person: asked for, too long, in circles, or shouted."""

    kind: Literal["handover"] = Field(description="Conversations that should go to a person.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    phrases: tuple[str, ...] = Field(default=(), description="Phrases that ask for a person, beside those that ship.")
    after_turns: Whole = Field(default=0, ge=0, description="After how many turns of the user; 0 never.")
    repeated: Whole = Field(default=3, ge=0, description="When the same question comes so often; 0 never.")
    angry: Flag = Field(default=True, description="When the user shouts.")
    say: str = Field(
        default="I am handing this over to a person, who will answer you.", description="What the caller reads."
    )


class CompleteConfig(FormatGuardrail):
    """The answer must not be empty or cut off."""

    kind: Literal["complete"] = Field(description="The answer is neither empty nor cut off.")
    then: Then = Field(default=("retry 1", "flag"), description="What to try, in order.")


GuardrailConfig: TypeAlias = (
    PersonalDataConfig
    | SecretsConfig
    | KeywordsConfig
    | InjectionConfig
    | TopicConfig
    | FormatConfig
    | CompleteConfig
    | PromptLeakConfig
    | JudgeConfig
    | GroundedConfig
    | HandoverConfig
    | ToxicityConfig
    | AnomalyConfig
    | BrandConfig
    | ConsistentConfig
)
