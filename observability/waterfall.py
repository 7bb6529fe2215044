"""A request as a text chart: start and duration of each step and attempt."""

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
    """A table with a row per step and attempt: its name, a bar from start to end, its duration, and its outcome."""
    total = max(exchange.ended - exchange.started, 1e-9)
    rows = [_Row(step.started, step.ended, step.name, _why(step.attributes)) for step in exchange.steps]
    for attempt in exchange.attempts:
        why = "answered" if attempt.chosen and not attempt.error else attempt.error or "cancelled"
        if attempt.reason != "first":
            why = f"{attempt.reason}: {why}"
        rows.append(_Row(attempt.started, attempt.ended or exchange.ended, attempt.target, why))
    # Longer rows first, so that nested rows come after their parent.
    rows.sort(key=lambda row: (row.started, -row.ended))
    cells = [_cells(exchange.surface, 0.0, total, total, f"{exchange.status} {exchange.outcome}")]
    for place, row in enumerate(rows):
        depth = 1 + sum(other.started <= row.started < other.ended for other in rows[:place])
        name = "  " * depth + row.name
        cells.append(_cells(name, row.started - exchange.started, row.ended - row.started, total, row.why))
    return table(("", "", "", ""), cells)


class _Row(NamedTuple):
    started: float
    ended: float
    name: str
    why: str


def _cells(name: str, start: float, length: float, total: float, why: str) -> tuple[RenderableType, ...]:
    from rich.bar import Bar

    # At least one column wide, so that it is visible.
    visible = max(length, total / _BAR)
    begin = min(start, total - visible)
    bar = Bar(total, begin, begin + visible, width=_BAR)
    return name[:_NAME], bar, f"{length * 1000:9.2f} ms", why


def _why(attributes: Attributes | None) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in (attributes or {}).items())


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
