"""The tool kind `source`: searches a document source."""

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
    from contract.sources import SearchableSource

_NOTHING = "Nothing was found."


class SourceToolConfig(ToolConfig):
    """A tool that lets the model search a document source."""

    kind: Literal["source"] = Field(description="Searches a document source.")
    source: Annotated[str, Ref("sources", "source")] = Field(description="The source.")
    description: str = Field(min_length=1, description="What the source contains, for the model.")
    top: Whole = Field(default=4, ge=1, le=20, description="The maximum number of passages.")

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """The source must have documents, not rows."""
        source = values.get("source")
        named = beside.struct("sources", source) if isinstance(source, str) else None
        if named is not None and issubclass(named, LiveSourceConfig):
            cure = "list it under from: of a pipeline's context"
            yield OptionConflict((*path, "source"), f"{quote(source)} has rows, not documents", cure)

    async def open(self, name: str, parts: ToolParts) -> Sequence[SourceTool]:
        """See `ToolConfig.open`."""
        return [SourceTool(name, self.description, parts.source(self.source), self.top, self.source)]


class SourceTool:
    """Searches one document source, limited to what the caller may see."""

    def __init__(self, name: str, description: str, source: SearchableSource, top: int, source_name: str) -> None:
        """`source_name` is the source's name in the list of sources that a key may access."""
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
        passages = await self._source.search(query, self._top, labels, caller)
        return "\n\n".join(f"[{each.source}, {each.place}]\n{each.text}" for each in passages)[:MAX_RESULT] or _NOTHING
