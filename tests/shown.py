"""What a command shows, as text: for a pipe, or for a terminal of so many columns."""

import io
from typing import TYPE_CHECKING

from observability.screen import show

if TYPE_CHECKING:
    from rich.console import RenderableType


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(renderable: "RenderableType", stream: io.StringIO | None = None) -> str:
    """What is written into a stream: a pipe, unless another is given."""
    stream = stream or io.StringIO()
    show(renderable, stream)
    return stream.getvalue()
