"""The tool that searches one's own documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from config.document import Path
from config.findings import quote
from config.raw import OptionConflict, RawConfig
from config.sources import LiveSourceConfig
from config.struct import Ref, Whole
from config.tools import ToolConfig, ToolParts
from contract.messages import Tool
from rag.tools.bounds import MAX_RESULT

if TYPE_CHECKING:
    from contract.caller import Caller
    from contract.sources import Searches

_NOTHING = "Nothing was found."


class SourceToolConfig(ToolConfig):
    """A search of a source of documents, when the model asks for it."""

    kind: Literal["source"] = Field(description="A search of a source of documents.")
    source: Annotated[str, Ref("sources", "source")] = Field(description="The source.")
    description: str = Field(min_length=1, description="What is in it, for the model.")
    top: Whole = Field(default=4, ge=1, le=20, description="Passages at most.")

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """It searches documents, and a source may have none."""
        source = values.get("source")
        named = beside.struct("sources", source) if isinstance(source, str) else None
        if named is not None and issubclass(named, LiveSourceConfig):
            cure = "list it under from: of a pipeline's context"
            yield OptionConflict((*path, "source"), f"{quote(source)} has rows, not documents", cure)

    async def open(self, name: str, parts: ToolParts) -> Sequence[SourceTool]:
        """See `ToolConfig.open`."""
        return [SourceTool(name, self.description, parts.source(self.source), self.top, self.source)]


class SourceTool:
    """A search of one source of documents, as far as the caller may see it."""

    def __init__(self, name: str, description: str, source: Searches, top: int, source_name: str) -> None:
        """`source_name` is what a key calls the source that may reach only some."""
        query = {"type": "string", "description": "A question that stands alone"}
        self.definition = Tool(
            name, description, {"type": "object", "properties": {"query": query}, "required": ["query"]}
        )
        self._source = source
        self._source_name = source_name
        self._top = top

    async def call(self, arguments: Mapping[str, Any], caller: Caller | None) -> str:
        """See `ReadingTool.call`."""
        query = str(arguments.get("query", "")).strip()
        if not query:
            raise ValueError("the argument query is missing")
        if caller is not None and caller.sources is not None and self._source_name not in caller.sources:
            return _NOTHING
        labels = caller.labels if caller is not None else frozenset()
        found = await self._source.search(query, self._top, labels, caller)
        return "\n\n".join(f"[{each.source}, {each.place}]\n{each.text}" for each in found)[:MAX_RESULT] or _NOTHING
