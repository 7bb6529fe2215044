"""`guardrails`: options of every check on requests and responses. Each kind's options are next to its code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from config.findings import wrong
from config.secret import SecretUrl
from config.struct import Checked, Coerce, Component, Flag, or_one
from config.units import Duration

Author: TypeAlias = Literal["system", "user", "assistant", "tool"]
Side: TypeAlias = Literal["input", "output"]
# A step of `then` and its argument: (`retry`, `2`), (`say`, the text), (`block`, ``).
Step: TypeAlias = tuple[str, str]
# Steps that need a response: an input guardrail can't take them.
ANSWER_STEPS = frozenset({"repair", "retry", "race", "model"})

_STEP = re.compile(r"(flag|mask|block|repair|human)|(retry|race) ([1-9])|(model) (\S+)|(say) (.+)", re.DOTALL)


def parse_step(text: str) -> Step:
    """(`retry`, `2`) of `retry 2`, (`say`, the text), (`block`, ``). Raises `ValueError`."""
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    name, *rest = [group for group in match.groups() if group is not None]
    return name, rest[0] if rest else ""


def written_steps(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps of `then` as the file has them, valid or not."""
    steps = values.get("then", ())
    return (steps,) if isinstance(steps, str) else tuple(map(str, steps)) if isinstance(steps, (list, tuple)) else ()


def _step(value: str) -> str:
    try:
        parse_step(value)
    except ValueError:
        cure = "write flag, mask, block, repair, retry 1, race 2, model NAME, say TEXT or human"
        raise wrong("{value} is not a guardrail step", cure) from None
    return value


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise wrong("{value} is not a valid regular expression", f"{error}") from None
    return value


def _kind_name(value: str) -> str:
    if re.fullmatch(r"[a-z]+(?:_[a-z]+)*", value) is None:
        raise wrong("a type may only have lower-case letters and underscores", "write it like ticket or member_id")
    return value


_STEPS = r"^\s*((flag|mask|block|repair|human)|(retry|race) [1-9]|model \S+|say [\s\S]+)\s*$"
Then = Annotated[tuple[Annotated[str, Checked(_step, _STEPS)], ...], Coerce(_listed, or_one)]
"""The steps that a guardrail takes on a finding, in order."""
KindName = Annotated[str, Checked(_kind_name, r"^[a-z]+(_[a-z]+)*$")]
"""A type of finding, such as a type of personal data or the name of a word list."""
Form = Annotated[str, AfterValidator(_pattern)]
"""A regular expression."""


@dataclass(frozen=True)
class Position:
    """A guardrail's place in a pipeline: its name, the side, and the guardrails after it on that side."""

    name: str
    side: Side
    later: Mapping[str, type[GuardrailConfig]]


class GuardrailConfig(Component):
    """Options of every guardrail, and facts that the configuration checks need before anything is built."""

    # The sides where it may be used, and the steps it may take on a finding.
    sides: ClassVar[frozenset[str]] = frozenset({"input", "output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block", "say", "human"})
    # Whether it removes text that no model may see: a guardrail that calls a model must come after it.
    masks: ClassVar[bool] = False

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = {"then": (r"^\s*parallel ([1-9])\s*$", r"race \1")}

    kind: str = Field(description="What the guardrail detects.")
    shadow: Flag = Field(default=False, description="Dry run: only record what it would have done.")
    on_error: Literal["closed", "open"] = Field(
        default="closed",
        description="When it fails or times out: `closed` rejects the request with 503, `open` lets it pass.",
    )
    timeout: Duration = Field(default=5.0, description="Time limit for one check.")
    webhook: SecretUrl | None = Field(
        default=None, description="The URL that `human` notifies, with a JSON POST of the request's ID and the reason."
    )

    @model_validator(mode="after")
    def _supports_its_steps(self) -> GuardrailConfig:
        for name, _ in self.ordered_steps:
            if name not in self.steps:
                raise wrong(
                    f"a guardrail of kind {self.kind} can't {name}", f"use one of {', '.join(sorted(self.steps))}"
                )
        return self

    @property
    def ordered_steps(self) -> tuple[Step, ...]:
        """The steps of `then`; none for a kind that has no `then`."""
        return tuple(parse_step(step) for step in getattr(self, "then", ()))

    @property
    def actions_shown(self) -> tuple[str, ...]:
        """The steps it takes on a finding, as `gatehouse plan` shows them."""
        return tuple(getattr(self, "then", ())) or ("mask",)

    @property
    def types_shown(self) -> dict[str, str]:
        """The steps it takes on single types of findings, as `gatehouse plan` shows them."""
        return {}

    def holds_back(self, side: Side) -> str:
        """How much of a streamed response is held back until it has decided, as `gatehouse plan` shows it."""
        if side == "input":
            return "nothing of the response"
        return "nothing" if self.shadow else "96 characters"

    @classmethod
    def misplaced(cls, values: Mapping[str, Any], position: Position) -> Iterator[tuple[str, str]]:
        """Yields each error of its place in a pipeline, with a cure. `values` are its options as the file has them."""
        if position.side not in cls.sides:
            other = "output" if position.side == "input" else "input"
            yield f"a guardrail of kind {values.get('kind')} can't be used here", f"move it to guard_{other}"
