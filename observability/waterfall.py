"""A request as a small picture in text: each step and attempt, when it began and how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.contract.exchange import Attributes, Exchange

BAR = 28
NAME = 30


def waterfall(exchange: Exchange) -> str:
    """Lines of at most about 100 columns."""
    whole = max(exchange.ended - exchange.started, 1e-9)
    rows: list[tuple[float, int, str, float, str]] = [
        (step.started, 1, step.name, step.ended, _why(step.attributes)) for step in exchange.steps
    ]
    for attempt in exchange.attempts:
        why = "answered" if attempt.chosen and not attempt.error else attempt.error or "let go"
        if attempt.reason != "first":
            why = f"{attempt.reason}: {why}"
        rows.append((attempt.started, 2, attempt.target, attempt.ended or exchange.ended, why))
    lines = [_line(exchange.surface, 0.0, whole, whole, f"{exchange.status} {exchange.outcome}")]
    for started, depth, name, ended, why in sorted(rows, key=lambda row: (row[0], row[1], -row[3])):
        lines.append(_line("  " * depth + name, started - exchange.started, ended - started, whole, why))
    return "\n".join(lines)


def _line(name: str, start: float, length: float, whole: float, why: str) -> str:
    before = min(BAR - 1, int(start / whole * BAR))
    width = max(1, min(BAR - before, round(length / whole * BAR)))
    bar = " " * before + "█" * width
    return f"{name[:NAME]:<{NAME}} {bar:<{BAR}} {length * 1000:9.2f} ms  {why}".rstrip()


def _why(attributes: Attributes | None) -> str:
    return ", ".join(f"{key} {_plain(value)}" for key, value in (attributes or {}).items())


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
