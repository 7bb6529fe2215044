"""Checks an answer's format: JSON, JSON with a schema, YAML, SQL, Python, one of several choices, or a pattern."""

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
    from guardrails.formats.formats import Format


class FormatConfig(AnswerGuardrail):
    """The answer must have a format: JSON (with a schema), YAML, SQL, Python, one of several choices, or a pattern."""

    renamed: ClassVar[Mapping[str, str]] = {"must_be": "format"}

    kind: Literal["format"] = Field(description="The answer's format.")
    format: Literal["json", "yaml", "sql", "python", "choice", "pattern"] = Field(description="The required format.")
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON schema, for json and yaml."
    )
    choices: tuple[str, ...] = Field(default=(), description="The allowed answers, for choice.")
    pattern: Expression = Field(
        default="", description="A regular expression that must match the complete answer, for pattern."
    )
    dialect: str = Field(default="", description="The SQL dialect, such as postgres; empty for common SQL.")

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema as plain JSON."""
        return None if self.schema_ is None else json.loads(json.dumps(self.schema_))

    @model_validator(mode="after")
    def _has_needed_options(self) -> FormatConfig:
        for required, key in (("choice", "choices"), ("pattern", "pattern")):
            if self.format == required and not getattr(self, key):
                raise wrong(f"{key} is missing", f"format: {required} needs it")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The parsers of JSON schemas and SQL."""
        if values.get("schema") is not None or values.get("format") == "sql":
            yield ("format",), "formats"

    def judge_of(self, parts: GuardrailParts) -> FormatJudge:
        """See `AnswerGuardrail.judge_of`."""
        from guardrails.formats import formats

        factories: dict[str, Callable[[], Format]] = {
            "json": lambda: formats.JsonFormat(self.json_schema),
            "yaml": lambda: formats.YamlFormat(self.json_schema),
            "sql": lambda: formats.SqlFormat(self.dialect),
            "python": formats.PythonFormat,
            "choice": lambda: formats.ChoiceFormat(self.choices),
            "pattern": lambda: formats.PatternFormat(self.pattern),
        }
        return FormatJudge(factories[self.format](), parts.pools.formats)


class FormatJudge:
    """Checks an answer's format. An answer of only tool calls passes."""

    def __init__(self, answer_format: Format, pool: WorkPool | None = None) -> None:
        """`pool` provides the threads that parse answers."""
        self._pool = pool or WorkPool("formats")
        self._format = answer_format
        self.name = answer_format.name

    async def judge(
        self, text: str, finish: FinishReason, *, calls: bool, request: ChatRequest, again: AskAgain, caller: str = ""
    ) -> Judgement:
        """See `Judge.judge`."""
        if calls and not text.strip():
            return Judgement()
        cut = finish in CUT_OFF
        verdict = await self._pool.run(caller, partial(self._format.check, text, cut=cut))
        return Judgement(verdict.problem, verdict.repaired)
