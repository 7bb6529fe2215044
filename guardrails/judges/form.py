"""Whether an answer is of a form: JSON, JSON of a schema, YAML, SQL, Python, one of some choices, a pattern."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from config.document import Path
from config.findings import wrong
from config.guardrails import Form as Expression
from contract.work import WorkPool
from guardrails.component import GuardrailParts
from guardrails.judges.guard import CUT_OFF, AnswerGuardrail, Judgement

if TYPE_CHECKING:
    from contract.deltas import FinishReason
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.formats.forms import Form


class FormatConfig(AnswerGuardrail):
    """The answer must be of a form: JSON, JSON of a schema, YAML, SQL, Python, one of some choices, a pattern."""

    renamed: ClassVar[Mapping[str, str]] = {"must_be": "format"}

    kind: Literal["format"] = Field(description="The answer's form.")
    format: Literal["json", "yaml", "sql", "python", "choice", "pattern"] = Field(description="The form.")
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON schema, for json and yaml."
    )
    choices: tuple[str, ...] = Field(default=(), description="The answers that are allowed, for choice.")
    pattern: Expression = Field(
        default="", description="A regular expression that the whole answer matches, for pattern."
    )
    dialect: str = Field(default="", description="The SQL dialect, such as postgres; empty takes what is common.")

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema as plain JSON."""
        return None if self.schema_ is None else json.loads(json.dumps(self.schema_))

    @model_validator(mode="after")
    def _whole(self) -> FormatConfig:
        for form, key in (("choice", "choices"), ("pattern", "pattern")):
            if self.format == form and not getattr(self, key):
                raise wrong(f"{key} is missing", f"format: {form} needs it")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """What reads JSON schemas and SQL."""
        if values.get("schema") is not None or values.get("format") == "sql":
            yield ("format",), "formats"

    def judge_of(self, parts: GuardrailParts) -> FormJudge:
        """See `AnswerGuardrail.judge_of`."""
        from guardrails.formats import forms

        makers: dict[str, Callable[[], Form]] = {
            "json": lambda: forms.JsonForm(self.json_schema),
            "yaml": lambda: forms.YamlForm(self.json_schema),
            "sql": lambda: forms.SqlForm(self.dialect),
            "python": forms.PythonForm,
            "choice": lambda: forms.ChoiceForm(self.choices),
            "pattern": lambda: forms.PatternForm(self.pattern),
        }
        return FormJudge(makers[self.format](), parts.pools.formats)


class FormJudge:
    """Whether an answer is of a form. One that calls tools instead of speaking is left alone."""

    def __init__(self, form: Form, pool: WorkPool | None = None) -> None:
        """`pool` has the threads in which long answers are read."""
        self._pool = pool or WorkPool("formats")
        self._form = form
        self.name = form.name

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `Judge.judge`."""
        if calls and not text.strip():
            return Judgement()
        cut = finish in CUT_OFF
        verdict = await self._pool.run(caller, partial(self._form.check, text, cut=cut))
        return Judgement(verdict.problem, verdict.repaired)
