"""`tools`: what a model may call to fetch context. Tools only read, and call only the hosts that are named here.

This module has the options of every kind; each kind's own options are next to its tool, in `rag/tools/`.
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
    from contract.sources import SearchableSource
    from contract.tools import ReadingTool
    from contract.work import WorkPool


class ToolParts(Protocol):
    """What a process provides to tools."""

    @property
    def pool(self) -> WorkPool:
        """Threads, for tools that can only block."""
        ...

    @property
    def outbound(self) -> Outbound:
        """Outbound HTTP calls."""
        ...

    @property
    def egress(self) -> Egress:
        """The proxies of outbound calls."""
        ...

    def source(self, name: str) -> SearchableSource:
        """A source of documents. Raises `KeyError`."""
        ...


class ToolConfig(Component):
    """Options of every tool."""

    kind: str = Field(description="What the tool does.")

    @property
    def keep_s(self) -> float:
        """How many seconds a result is cached for the same arguments, for all callers; 0 disables caching."""
        return 0.0

    @abstractmethod
    async def open(self, name: str, parts: ToolParts) -> Sequence[ReadingTool]:
        """Returns the tools of the entry `name`: one of that name, or several named `name_...`."""


class RemoteToolConfig(ToolConfig):
    """Options of every tool that calls a host."""

    keep: Pause = Field(
        default=0.0, description="How long a result is cached for the same arguments; `0s` disables caching."
    )

    @property
    def keep_s(self) -> float:
        """See `ToolConfig.keep_s`."""
        return self.keep
