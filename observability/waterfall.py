"""A request as a text chart: start and duration of each step and attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from contract.exchange import Attributes, Exchange

BAR = 28
NAME = 30


def waterfall(exchange: Exchange) -> str:
    """Lines of at most about 100 columns."""
    total = max(exchange.ended - exchange.started, 1e-9)
    rows = [_Row(step.started, step.ended, step.name, _why(step.attributes)) for step in exchange.steps]
    for attempt in exchange.attempts:
        why = "answered" if attempt.chosen and not attempt.error else attempt.error or "cancelled"
        if attempt.reason != "first":
            why = f"{attempt.reason}: {why}"
        rows.append(_Row(attempt.started, attempt.ended or exchange.ended, attempt.target, why))
    lines = [_line(exchange.surface, 0.0, total, total, f"{exchange.status} {exchange.outcome}")]
    # Longer rows first, so that nested rows come after their parent.
    rows.sort(key=lambda row: (row.started, -row.ended))
    for place, row in enumerate(rows):
        depth = 1 + sum(other.started <= row.started < other.ended for other in rows[:place])
        name = "  " * depth + row.name
        lines.append(_line(name, row.started - exchange.started, row.ended - row.started, total, row.why))
    return "\n".join(lines)


class _Row(NamedTuple):
    started: float
    ended: float
    name: str
    why: str


def _line(name: str, start: float, length: float, total: float, why: str) -> str:
    before = min(BAR - 1, int(start / total * BAR))
    width = max(1, min(BAR - before, round(length / total * BAR)))
    bar = " " * before + "█" * width
    return f"{name[:NAME]:<{NAME}} {bar:<{BAR}} {length * 1000:9.2f} ms  {why}".rstrip()


def _why(attributes: Attributes | None) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in (attributes or {}).items())


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
