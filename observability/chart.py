"""Charts of measurements as SVG: grouped bars, and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 180, 50, 60
_COLOURS = ("#3465a4", "#f57900", "#4e9a06", "#cc0000", "#75507b", "#555753", "#c4a000", "#729fcf")
_TICKS = 5
_INNER_W, _INNER_H = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM


def bars(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """A grouped bar chart of values from 0 to 1: `{"words": {"recall@10": 0.5}}`."""
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    width = _INNER_W / max(1, len(groups))
    bar = 0.8 * width / max(1, len(names))
    parts = []
    for place, (group, values) in enumerate(groups.items()):
        left = _LEFT + place * width + 0.1 * width
        for number, name in enumerate(names):
            value = values.get(name, 0.0)
            x, y = left + number * bar, _y(value, 0.0, 1.0)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{0.9 * bar:.1f}" height="{_TOP + _INNER_H - y:.1f}" '
                f'fill="{_colour(number)}"/>'
                f'<text x="{x + 0.45 * bar:.1f}" y="{y - 4:.1f}" font-size="9" text-anchor="middle">{value:.2f}</text>'
            )
        parts.append(_text(left + 0.4 * width, HEIGHT - _BOTTOM + 18, group, "middle"))
    return _svg(title, [*_y_axis(0.0, 1.0), *parts, *_legend(names)])


def curves(
    title: str,
    x_label: str,
    y_label: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> str:
    """A line chart of each series of points; `marks` are points with a label."""
    points = [point for each in series.values() for point in each] + list((marks or {}).values())
    if not points:
        return _svg(title, [])
    x_from, x_to = min(x for x, _ in points), max(x for x, _ in points)
    y_from, y_to = min(0.0, min(y for _, y in points)), max(y for _, y in points)
    x_to, y_to = (x_to if x_to > x_from else x_from + 1.0), (y_to if y_to > y_from else y_from + 1.0)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return _LEFT + (point[0] - x_from) / (x_to - x_from) * _INNER_W, _y(point[1], y_from, y_to)

    parts = _y_axis(y_from, y_to)
    for tick in range(_TICKS + 1):
        value = x_from + (x_to - x_from) * tick / _TICKS
        parts.append(_text(_LEFT + _INNER_W * tick / _TICKS, HEIGHT - _BOTTOM + 18, _number(value), "middle"))
    parts.append(_text(_LEFT + _INNER_W / 2, HEIGHT - 14, x_label, "middle"))
    parts.append(_text(12, _TOP - 14, y_label, "start"))
    for number, each in enumerate(series.values()):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, sorted(each)))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_colour(number)}" stroke-width="2"/>')
    for label, point in (marks or {}).items():
        x, y = at(point)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#000"/>' + _text(x + 7, y - 6, label, "start"))
    return _svg(title, [*parts, *_legend(list(series))])


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="{_LEFT}" y="24" font-size="16">{escape(title)}</text>{"".join(parts)}</svg>\n'
    )


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (1.0 - (value - low) / (high - low)) * _INNER_H


def _y_axis(low: float, high: float) -> list[str]:
    parts = []
    for tick in range(_TICKS + 1):
        value = low + (high - low) * tick / _TICKS
        y = _y(value, low, high)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + _INNER_W}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, y + 4, _number(value), "end"))
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    left = WIDTH - _RIGHT + 20
    return [
        f'<rect x="{left}" y="{_TOP + 20 * number}" width="12" height="12" fill="{_colour(number)}"/>'
        + _text(left + 18, _TOP + 20 * number + 11, name, "start")
        for number, name in enumerate(names)
    ]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
