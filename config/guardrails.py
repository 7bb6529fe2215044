"""`guardrails`: what every check on requests and answers has. The options of each kind stand beside what they build."""

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
# Steps that work on an answer: nothing on the way in can do them.
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
    """The steps of `then` as the file has them, right or wrong."""
    steps = values.get("then", ())
    return (steps,) if isinstance(steps, str) else tuple(map(str, steps)) if isinstance(steps, (list, tuple)) else ()


def _step(value: str) -> str:
    try:
        parse_step(value)
    except ValueError:
        cure = "write flag, mask, block, repair, retry 1, race 2, model NAME, say TEXT or human"
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


_STEPS = r"^\s*((flag|mask|block|repair|human)|(retry|race) [1-9]|model \S+|say [\s\S]+)\s*$"
Then = Annotated[tuple[Annotated[str, Checked(_step, _STEPS)], ...], Coerce(_listed, or_one)]
"""What a guardrail does about what it finds, in order."""
KindName = Annotated[str, Checked(_kind_name, r"^[a-z]+(_[a-z]+)*$")]
"""A type of what is found, such as a type of personal data or the name of a list of words."""
Form = Annotated[str, AfterValidator(_form)]
"""A regular expression."""


@dataclass(frozen=True)
class Position:
    """Where a pipeline has a guardrail: its name, the side, and the guardrails that come after it on that side."""

    name: str
    side: Side
    later: Mapping[str, type[GuardrailConfig]]


class GuardrailConfig(Component):
    """What every guardrail has, and what a configuration asks it before anything is built."""

    # Where it may stand, and what it may do about what it finds.
    sides: ClassVar[frozenset[str]] = frozenset({"input", "output"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block", "say", "human"})
    # Whether it takes out of a request what no model may see: a guardrail that asks a model must come after it.
    masks: ClassVar[bool] = False

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = {"then": (r"^\s*parallel ([1-9])\s*$", r"race \1")}

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
    def _can_do_so(self) -> GuardrailConfig:
        for name, _ in self.ordered_steps:
            if name not in self.steps:
                raise wrong(
                    f"a guardrail of kind {self.kind} can't {name}", f"choose among {', '.join(sorted(self.steps))}"
                )
        return self

    @property
    def ordered_steps(self) -> tuple[Step, ...]:
        """The steps of `then`; none for a kind that has no `then`."""
        return tuple(parse_step(step) for step in getattr(self, "then", ()))

    @property
    def actions_shown(self) -> tuple[str, ...]:
        """What it does about what it finds, as `gatehouse plan` shows it."""
        return tuple(getattr(self, "then", ())) or ("mask",)

    @property
    def types_shown(self) -> dict[str, str]:
        """What it does about single types of what it finds, as `gatehouse plan` shows it."""
        return {}

    def holds_back(self, side: Side) -> str:
        """How much of a streamed answer is held back until it has decided, as `gatehouse plan` shows it."""
        if side == "input":
            return "nothing of the answer"
        return "nothing" if self.shadow else "96 characters"

    @classmethod
    def misplaced(cls, values: Mapping[str, Any], position: Position) -> Iterator[tuple[str, str]]:
        """What is wrong with its place in a pipeline, and what to do. `values` are its options as the file has them."""
        if position.side not in cls.sides:
            other = "output" if position.side == "input" else "input"
            yield f"a guardrail of kind {values.get('kind')} can't stand here", f"put it into guard_{other}"
