"""What commands show to people, by rich: tables, trees, bars, progress, colours.

On a terminal, cells wrap to its width. In a pipe or a file, each row is one line of its full length without colours,
so that `grep` and `awk` find whole values. rich is imported when something is shown: no command waits for it before.
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

# Columns of what is no terminal: more than any row has.
_WIDE = 1_000_000


def has_colors(stream: TextIO) -> bool:
    """Whether what is written there is seen in colours: on a terminal, unless `NO_COLOR` is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def show(shown: RenderableType, stream: TextIO | None = None) -> None:
    """Prints a table, a tree or a text; to stdout unless another stream is given."""
    from rich.measure import Measurement
    from rich.text import Text

    stream = stream or sys.stdout
    console = _console(stream)
    if isinstance(shown, Text):
        # The terminal wraps it: a caret under a line keeps its place.
        console.print(shown, soft_wrap=True)
        return
    if stream.isatty():
        # Where a terminal is too narrow for whole words and numbers, it wraps the rows.
        least = Measurement.get(console, console.options.update_width(_WIDE), shown).minimum
        console.width = max(console.width, least)
        console.print(shown)
        return
    with console.capture() as captured:
        console.print(shown)
    # rich fills the last column with spaces.
    stream.write("".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1]))


def table(head: Sequence[str], rows: Iterable[Sequence[RenderableType]], left: int | None = None) -> Table:
    """A row for each of `rows` under the heads, none for an empty `head`; from column `left` on, to the right.

    Cells of text are shown by `printable`.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(head), header_style="bold")
    for place, name in enumerate(head):
        justify: JustifyMethod = "left" if left is None or place < left else "right"
        made.add_column(name, justify=justify, overflow="fold")
    for row in rows:
        made.add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in row))
    return made


def styled(pieces: Iterable[tuple[str, str]]) -> Text:
    """Texts, each with its style in rich's words."""
    from rich.text import Text

    return Text.assemble(*pieces)


def progress_bar(stream: TextIO) -> Progress:
    """A bar with what is done, how much and what is left; shown on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=_console(stream), disable=not stream.isatty())


def printable(text: str) -> str:
    """The text with its control characters written out: people name things, and no name may steer a terminal."""
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
