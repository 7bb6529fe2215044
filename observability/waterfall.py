"""A request as a small picture in text: each step and attempt, when it began and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from observability.screen import table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from contract.exchange import Attributes, Exchange

_BAR = 28
_NAME = 30


def waterfall(exchange: Exchange) -> Table:
    """A row each: its name, a bar from its start to its end, its time, and what became of it."""
    whole = max(exchange.ended - exchange.started, 1e-9)
    rows = [_Row(step.started, step.ended, step.name, _why(step.attributes)) for step in exchange.steps]
    for attempt in exchange.attempts:
        why = "answered" if attempt.chosen and not attempt.error else attempt.error or "let go"
        if attempt.reason != "first":
            why = f"{attempt.reason}: {why}"
        rows.append(_Row(attempt.started, attempt.ended or exchange.ended, attempt.target, why))
    # Longer ones first, so that what began within another stands below it.
    rows.sort(key=lambda row: (row.started, -row.ended))
    cells = [_cells(exchange.surface, 0.0, whole, whole, f"{exchange.status} {exchange.outcome}")]
    for place, row in enumerate(rows):
        depth = 1 + sum(other.started <= row.started < other.ended for other in rows[:place])
        name = "  " * depth + row.name
        cells.append(_cells(name, row.started - exchange.started, row.ended - row.started, whole, row.why))
    return table(("", "", "", ""), cells)


class _Row(NamedTuple):
    started: float
    ended: float
    name: str
    why: str


def _cells(name: str, start: float, length: float, whole: float, why: str) -> tuple[RenderableType, ...]:
    from rich.bar import Bar

    # The shortest is one column, so that it is seen.
    shown = max(length, whole / _BAR)
    begin = min(start, whole - shown)
    bar = Bar(whole, begin, begin + shown, width=_BAR)
    return name[:_NAME], bar, f"{length * 1000:9.2f} ms", why


def _why(attributes: Attributes | None) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in (attributes or {}).items())


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
