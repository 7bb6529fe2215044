"""Problems in the YAML, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_WIDTH = 110
_BOLD, _RED, _CYAN, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


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

    def render(self, color: bool = False) -> str:
        """The place and the message, the line with a caret, and the suggestion."""
        bold, red, cyan, plain = (_BOLD, _RED, _CYAN, _PLAIN) if color else ("", "", "", "")
        at = f"{self.path}: " if self.path else ""
        lines = [
            f"{bold}{_printable(f'{self.file}:{self.line}:{self.column}')}{plain}  {_printable(at + self.message)}"
        ]
        if self.source.strip():
            shown, start, width = _window(self.source, self.column - 1, self.width)
            number = str(self.line)
            lines.append(f"  {number} | {_printable(shown)}")
            lines.append(f"  {' ' * len(number)} | {' ' * start}{red}{'^' * width}{plain}")
        if self.suggestion:
            lines.append(f"  {cyan}{_printable(self.suggestion)}{plain}")
        return "\n".join(lines)


class ConfigError(Exception):
    """The configuration is not valid. `problems` has all problems, in the file's order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda p: (p.line, p.column, p.path, p.message))
        super().__init__(self.render())

    def render(self, color: bool = False) -> str:
        """All problems, followed by their number."""
        count = len(self.problems)
        shown = [problem.render(color) for problem in self.problems]
        return "\n\n".join([*shown, f"{count} problem{'' if count == 1 else 's'}"])


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
