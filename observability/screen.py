"""Output of commands for people, with rich: tables, trees, bars, progress, colours.

On a terminal, cells wrap to its width. In a pipe or a file, each row is one line of full length without colours, so
that `grep` and `awk` find complete values. rich is imported only when output is printed, so that commands start fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod, RenderableType
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text

# The width without a terminal: more columns than any row has.
_WIDE = 1_000_000


def has_colors(stream: TextIO) -> bool:
    """Whether output to the stream has colours: on a terminal, unless `NO_COLOR` is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def show(shown: RenderableType, stream: TextIO | None = None) -> None:
    """Prints a table, a tree or text; by default to stdout."""
    from rich.measure import Measurement
    from rich.text import Text

    stream = stream or sys.stdout
    console = _console(stream)
    if isinstance(shown, Text):
        # The terminal wraps the text, so that a caret under a line keeps its place.
        console.print(shown, soft_wrap=True)
        return
    if stream.isatty():
        # If the terminal is too narrow for complete words and numbers, the terminal wraps the rows.
        least = Measurement.get(console, console.options.update_width(_WIDE), shown).minimum
        console.width = max(console.width, least)
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    # rich pads the last column with spaces.
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1]))


def table(head: Sequence[str], rows: Iterable[Sequence[RenderableType]], left: int | None = None) -> Table:
    """A table of `rows`, with a header unless `head` is empty; columns from number `left` on are right-aligned.

    Text cells are escaped by `printable`.
    """
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(head), header_style="bold")
    for place, name in enumerate(head):
        justify: JustifyMethod = "left" if left is None or place < left else "right"
        grid.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        grid.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in row))
    return grid


def styled(pieces: Iterable[tuple[str, str]]) -> Text:
    """Pieces of text, each with a style of rich."""
    from rich.text import Text

    return Text.assemble(*pieces)


def progress_bar(stream: TextIO) -> Progress:
    """A progress bar with counts and the remaining time; shown only on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=_console(stream), disable=not stream.isatty())


def printable(text: str) -> str:
    """The text with control characters escaped: names come from users, and must not control the terminal."""
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)


def _text(cell: str) -> Text:
    from rich.text import Text

    return Text(printable(cell))


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(
        file=stream,
        color_system="auto" if has_colors(stream) else None,
        width=None if stream.isatty() else _WIDE,
        markup=False,
        emoji=False,
        highlight=False,
    )
