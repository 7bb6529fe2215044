"""Measures a pipeline's guardrails on your own cases: what they flag, find and miss.

A case is a line of JSON: `{"text": "...", "label": "attack"}` with any label (`benign`, `off-topic`, ...), or with
`spans`: `[[start, end, "person"], ...]` for personal data. A JSON array of objects with `full_text` and `spans`
(the format of presidio-research) is accepted too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from contract.caller import Caller
from contract.errors import GatehouseError
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from gateway.engine.resources import Resources
from guardrails.assembly import chain
from guardrails.checks import RequestMasker
from observability.screen import show, table
from router.health import HealthBook

if TYPE_CHECKING:
    from config.root import Config
    from config.sections import PipelineConfig
    from guardrails.chain import Chain
    from guardrails.span import Span

# Two spans match if their intersection is at least this share of their union.
SAME = 0.9
_PRESIDIO = {
    "CREDIT_CARD": "CARD", "PHONE_NUMBER": "PHONE", "EMAIL_ADDRESS": "EMAIL", "IBAN_CODE": "IBAN", "IP_ADDRESS": "IP",
    "STREET_ADDRESS": "ADDRESS", "ORGANIZATION": "ORGANISATION", "GPE": "LOCATION",
    "US_DRIVER_LICENSE": "DRIVER_LICENCE",
}  # fmt: skip


class GuardrailCase(msgspec.Struct, frozen=True):
    """One text with its label and its spans of personal data."""

    text: str
    label: str = ""
    spans: tuple[tuple[int, int, str], ...] | None = None


class KindScore(msgspec.Struct):
    """One kind of personal data: labelled spans, labelled spans that were found, and all spans that were found."""

    truth: int = 0
    found: int = 0
    given: int = 0

    @property
    def f2(self) -> float:
        """The F2 score: recall has twice the weight of precision."""
        precision, recall = self.found / max(1, self.given), self.found / max(1, self.truth)
        return 5 * precision * recall / max(1e-9, 4 * precision + recall)


class GuardrailReport(msgspec.Struct):
    """The figures. `flagged`: by label, the number of flagged or blocked texts, and of all texts."""

    flagged: dict[str, tuple[int, int]]
    kinds: dict[str, KindScore]
    leaked_characters: int = 0
    personal_characters: int = 0
    false_spans: int = 0
    characters: int = 0
    seconds: float = 0.0

    def show(self) -> None:
        """Prints tables: by label, by kind of personal data, and the totals."""
        labels = [
            (label or "unlabelled", f"{flagged}", f"{count}", f"{flagged / max(1, count):.1%}")
            for label, (flagged, count) in sorted(self.flagged.items())
        ]
        show(table(("label", "flagged or blocked", "of", "share"), labels, 1))
        if self.kinds:
            typer.echo()
            self._show_kinds()
        typer.echo(f"\n{1e6 * self.seconds / max(1, self.characters):.1f} ms per kilobyte")

    def _show_kinds(self) -> None:
        scores = [(kind.lower(), score) for kind, score in sorted(self.kinds.items())]
        counts = [(score.truth, score.found, score.given) for _, score in scores]
        scores.append(("all", KindScore(*(sum(column) for column in zip(*counts, strict=True)))))
        rows = [
            (kind, f"{score.found}", f"{score.truth}", f"{score.given - score.found}", f"{score.f2:.3f}")
            for kind, score in scores
        ]
        show(table(("personal data", "found", "of", "wrong", "F2"), rows, 1))
        leaked = self.leaked_characters / max(1, self.personal_characters)
        typer.echo(f"\n{leaked:.2%} of the characters of personal data were missed")
        typer.echo(f"false spans: {1000 * self.false_spans / max(1, self.characters):.2f} in 1,000 characters")


def read_cases(path: Path) -> list[GuardrailCase]:
    """Reads a file. Raises `ValueError` that names the line that can't be read."""
    text = path.read_text("utf-8")
    if text.lstrip().startswith("["):
        return [_case(item, f"{path}: item {number}") for number, item in enumerate(json.loads(text), 1)]
    cases = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                cases.append(_case(json.loads(line), f"{path}:{number}"))
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: this is not JSON: {error.msg}") from None
    return cases


def _case(item: Any, where: str) -> GuardrailCase:
    if not isinstance(item, dict) or not isinstance(item.get("text", item.get("full_text")), str):
        raise ValueError(f'{where}: write {{"text": "...", "label": "..."}} or {{"text": "...", "spans": [...]}}')
    text, label = str(item.get("text", item.get("full_text"))), str(item.get("label", ""))
    spans = item.get("spans")
    if spans is None:
        return GuardrailCase(text, label)
    read = [
        (span["start_position"], span["end_position"], span["entity_type"]) if isinstance(span, dict) else tuple(span)
        for span in spans
    ]
    return GuardrailCase(
        text,
        label,
        tuple((int(start), int(end), _PRESIDIO.get(str(kind).upper(), str(kind).upper())) for start, end, kind in read),
    )


async def evaluate(guards: Chain, cases: Sequence[GuardrailCase]) -> GuardrailReport:
    """Runs every case through the input guardrails, one after another."""
    flagged: dict[str, list[int]] = {}
    report = GuardrailReport({}, {})
    personal = [guard for guard in guards.inputs if isinstance(guard, RequestMasker)]
    searched = frozenset(kind for guard in personal for kind in guard.kinds)
    for case in cases:
        exchange = Exchange("evaluation")
        exchange.caller = Caller("evaluation")
        request = ChatRequest(dialect="openai", model="-", messages=(Message("user", (Text(case.text),)),))
        started = time.perf_counter()
        try:
            guarded = await guards.open(request, exchange)
            stopped = guarded.answer is not None
        except GatehouseError:
            stopped = True
        report.seconds += time.perf_counter() - started
        report.characters += len(case.text)
        is_flagged = stopped or any(each.action in ("flag", "block") for each in exchange.findings)
        counts = flagged.setdefault(case.label, [0, 0])
        counts[0] += is_flagged
        counts[1] += 1
        if case.spans is not None and personal:
            found = [span for guard in personal for span in await guard.spans(case.text)]
            _compare(case, found, searched, report)
    report.flagged = {label: (counts[0], counts[1]) for label, counts in flagged.items()}
    return report


def _compare(case: GuardrailCase, found: Iterable[Span], searched: frozenset[str], report: GuardrailReport) -> None:
    """Counts one text. Ignores spans of kinds that no guardrail searches for."""
    given = list(found)
    truth = case.spans or ()
    for start, end, kind in truth:
        if kind not in searched:
            continue
        score = report.kinds.setdefault(kind, KindScore())
        score.truth += 1
        score.found += any(span.kind == kind and _overlap(start, end, span) >= SAME for span in given)
        report.personal_characters += end - start
        report.leaked_characters += sum(
            not any(span.start <= place < span.end for span in given) for place in range(start, end)
        )
    others = [(start, end) for start, end, kind in truth if kind not in searched]
    for span in given:
        if not any(start < span.end and end > span.start for start, end in others):
            report.kinds.setdefault(span.kind, KindScore()).given += 1
    report.false_spans += sum(
        not any(start < span.end and end > span.start for start, end, _ in truth) for span in given
    )


def _overlap(start: int, end: int, span: Span) -> float:
    common = min(end, span.end) - max(start, span.start)
    return common / (max(end, span.end) - min(start, span.start)) if common > 0 else 0.0


async def measure(config: Config, pipeline: PipelineConfig, paths: Sequence[Path]) -> GuardrailReport:
    """Evaluates one pipeline's guardrails on the cases of some files. Raises `ValueError` for invalid cases."""
    resources = Resources(HealthBook())
    try:
        cases = [case for path in paths for case in read_cases(path)]
        return await evaluate(chain(config.guardrails, pipeline.guard_input, (), resources), cases)
    finally:
        await resources.close()
