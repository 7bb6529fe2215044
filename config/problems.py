"""Problems in the YAML, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

_WIDTH = 110
# A text and its style, in rich's words; empty for none.
Piece: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Problem:
    """One problem. `line` and `column` count from 1; `source` is the line with secrets masked.

    `width` is the number of characters that the caret underlines.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str = ""
    source: str = ""
    width: int = 1

    def render(self) -> str:
        """The place and the message, the line with a caret, and the suggestion."""
        return "".join(text for text, _ in self.pieces())

    def pieces(self) -> list[Piece]:
        """The text of `render` in pieces, with styles for a terminal."""
        at = f"{self.path}: " if self.path else ""
        place = _printable(f"{self.file}:{self.line}:{self.column}")
        pieces = [(place, "bold"), (f"  {_printable(at + self.message)}", "")]
        if self.source.strip():
            shown, start, width = _window(self.source, self.column - 1, self.width)
            number = str(self.line)
            pieces.append((f"\n  {number} | {_printable(shown)}\n  {' ' * len(number)} | {' ' * start}", ""))
            pieces.append(("^" * width, "red"))
        if self.suggestion:
            pieces += [("\n  ", ""), (_printable(self.suggestion), "cyan")]
        return pieces


class ConfigError(Exception):
    """The configuration is not valid. `problems` has all problems, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        super().__init__(self.render())

    def render(self) -> str:
        """All problems, followed by their number."""
        return "".join(text for text, _ in self.pieces())

    def pieces(self) -> list[Piece]:
        """The text of `render` in pieces, with styles for a terminal."""
        pieces = [piece for problem in self.problems for piece in (*problem.pieces(), ("\n\n", ""))]
        count = len(self.problems)
        return [*pieces, (f"{count} problem{'' if count == 1 else 's'}", "")]


def _window(source: str, start: int, width: int) -> tuple[str, int, int]:
    """The part of a long line around the caret, the caret's place in it, and its width there."""
    width = max(1, min(width, len(source) - start))
    if len(source) <= _WIDTH:
        return source, start, width
    first = max(0, min(start - _WIDTH // 3, len(source) - _WIDTH))
    ahead = "..." if first else ""
    behind = "..." if first + _WIDTH < len(source) else ""
    place = start - first + len(ahead)
    return f"{ahead}{source[first : first + _WIDTH]}{behind}", place, min(width, _WIDTH - (start - first))


def _printable(text: str) -> str:
    """The text with control characters replaced: a file must not be able to move a terminal's cursor."""
    return "".join(" " if c == "\t" else c if c.isprintable() else "?" for c in text)
