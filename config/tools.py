"""`tools`: what a model may call to fetch its own context. They only read, and ask no host that is not named here.

Here is what every kind has; each kind's options stand beside the tool, in `rag/tools/`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from config.struct import Component
from config.units import Pause

if TYPE_CHECKING:
    from contract.egress import Egress
    from contract.outbound import Outbound
    from contract.sources import Searches
    from contract.tools import ReadingTool
    from contract.work import WorkPool


class ToolParts(Protocol):
    """What a process lends to tools."""

    @property
    def pool(self) -> WorkPool:
        """Threads, for what can only wait in one."""
        ...

    @property
    def outbound(self) -> Outbound:
        """Calls over HTTP."""
        ...

    @property
    def egress(self) -> Egress:
        """The way to other hosts."""
        ...

    def source(self, name: str) -> Searches:
        """A source of documents. Raises `KeyError`."""
        ...


class ToolConfig(Component):
    """What every tool has."""

    kind: str = Field(description="What it does.")

    @property
    def keep_s(self) -> float:
        """For how long a result is remembered for the same arguments, whoever asks; 0: not at all."""
        return 0.0

    @abstractmethod
    async def open(self, name: str, parts: ToolParts) -> Sequence[ReadingTool]:
        """The tools of the entry `name`: one of that name, or several whose names begin with it and an underscore."""


class RemoteToolConfig(ToolConfig):
    """What a tool has that asks a host."""

    keep: Pause = Field(
        default=0.0, description="How long a result is remembered for the same arguments; 0s calls each time."
    )

    @property
    def keep_s(self) -> float:
        """See `ToolConfig.keep_s`."""
        return self.keep
