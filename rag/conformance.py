"""Conformance tests that the author of a source or tool kind inherits. This needs pytest.

class TestWeather(ToolConformance):
    config = WeatherConfig
    options = {"unit": "celsius"}
    calls = [({"city": "Bonn"}, "degrees")]
    refused = [{}]
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pytest

from config.conformance import ComponentConformance
from config.sources import DocumentSourceConfig, LiveSourceConfig
from config.tools import ToolConfig
from contract.egress import DIRECT, Egress
from contract.exchange import Exchange
from contract.messages import ChatRequest
from contract.outbound import Outbound
from contract.sources import LiveSource, SearchableSource
from contract.tools import ReadingTool
from contract.work import WorkPool
from rag.ingest import MAX_ID_BYTES
from rag.tools.bounds import MAX_RESULT
from rag.tools.fetch import FetchFailed

R = TypeVar("R")


@dataclass(frozen=True)
class FakeServices:
    """A fake of the process-wide services that sources and tools use."""

    sources: Mapping[str, SearchableSource] = field(default_factory=dict)
    folder: Path = Path()
    egress: Egress = DIRECT
    pool: WorkPool = field(default_factory=lambda: WorkPool("conformance", 2))
    outbound: Outbound = field(default_factory=lambda: Outbound("conformance"))

    def source(self, name: str) -> SearchableSource:
        """See `config.tools.ToolParts`."""
        return self.sources[name]


class ToolConformance(ComponentConformance):
    """`calls`: arguments, each with a text that the result contains. `refused`: arguments that the tool must reject."""

    config: type[ToolConfig]
    calls: Sequence[tuple[Mapping[str, Any], str]] = ()
    refused: Sequence[Mapping[str, Any]] = ()
    name: str = "entry"

    def services(self) -> FakeServices:
        """Override this if the tool needs sources or another egress."""
        return FakeServices()

    def run(self, act: Callable[[ReadingTool], Awaitable[R]]) -> R:
        """Returns the result of `act` on the entry's first tool."""

        async def opened() -> R:
            services = self.services()
            try:
                first, *_ = await self.read(self.options).open(self.name, services)
                return await act(first)
            finally:
                services.pool.close()
                await services.outbound.close()

        return asyncio.run(opened())

    def test_its_tools_are_named_after_the_entry(self) -> None:
        """Pipelines and a router's `tools` refer to the entry by its name."""

        async def opened() -> Sequence[ReadingTool]:
            return list(await self.read(self.options).open(self.name, self.services()))

        names = [tool.definition.name for tool in asyncio.run(opened())]
        assert names
        assert all(name == self.name or name.startswith(f"{self.name}_") for name in names)
        assert len(set(names)) == len(names)

    def test_its_definition_describes_purpose_and_arguments(self) -> None:
        """The model reads a description and a JSON schema of the arguments."""

        async def act(tool: ReadingTool) -> Any:
            return tool.definition

        definition = self.run(act)
        assert definition.description
        assert (definition.parameters or {}).get("type", "object") == "object"

    def test_its_calls_return_the_expected_results(self) -> None:
        """The length of each result is bounded."""
        for arguments, expected in self.calls:

            async def act(tool: ReadingTool, arguments: Mapping[str, Any] = arguments) -> str:
                return await tool.call(arguments, None)

            result = self.run(act)
            assert expected in result
            assert len(result) <= MAX_RESULT

    def test_bad_arguments_raise_an_error_for_the_model(self) -> None:
        """A `ValueError` or `FetchFailed` with a message, never another error."""
        for arguments in self.refused:

            async def act(tool: ReadingTool, arguments: Mapping[str, Any] = arguments) -> str:
                return await tool.call(arguments, None)

            with pytest.raises((ValueError, FetchFailed)) as failed:
                self.run(act)
            assert str(failed.value)


class DocumentSourceConformance(ComponentConformance):
    """`documents`: by document id, a text that the document's bytes contain."""

    config: type[DocumentSourceConfig]
    documents: Mapping[str, str] = MappingProxyType({})

    def test_it_lists_its_documents(self) -> None:
        """Each document has a unique id and loads as bytes with a media type."""
        origin = self.read(self.options).origin(DIRECT)
        items = origin.items() if origin is not None else []
        assert sorted(each.id for each in items) == sorted(self.documents)
        for each in items:
            data, media_type = each.load()
            assert self.documents[each.id].encode() in data
            assert isinstance(media_type, str)
            assert len(each.id.encode()) <= MAX_ID_BYTES

    def test_unchanged_documents_are_not_read_again(self) -> None:
        """Two equal configs have the same stamp."""
        first, second = (self.read(self.options).origin(DIRECT) for _ in range(2))
        assert first is None or (second is not None and first.stamp() == second.stamp())

    def test_documents_are_either_read_or_uploaded(self) -> None:
        """A source reads its documents from its origin, or takes uploads, not both."""
        config = self.read(self.options)
        assert config.takes_documents == (config.origin(DIRECT) is None)

    def test_it_states_its_location(self) -> None:
        """`gatehouse plan` shows it."""
        assert self.read(self.options).where


class LiveSourceConformance(ComponentConformance):
    """`answers`: a question, the model's reply to it, and a text that the source's passage contains."""

    config: type[LiveSourceConfig]
    answers: Sequence[tuple[str, str, str]] = ()

    def services(self) -> FakeServices:
        """Override this if the source needs another egress."""
        return FakeServices(folder=self.folder)

    def run(self, act: Callable[[LiveSource], Awaitable[R]], options: Mapping[str, Any] | None = None) -> R:
        """Returns the result of `act` on the started source."""

        async def opened() -> R:
            services = self.services()
            source = self.read(self.options if options is None else options).open("entry", services)
            try:
                await source.start()
                return await act(source)
            finally:
                await source.close()
                services.pool.close()

        return asyncio.run(opened())

    def test_it_starts_and_reports_its_status(self) -> None:
        """/health shows the status."""

        async def act(source: LiveSource) -> tuple[str, str]:
            return source.name, source.status()

        name, status = self.run(act)
        assert name == "entry"
        assert status

    def test_only_callers_with_a_label_may_query_it(self) -> None:
        """A source without labels is open to all callers."""

        async def act(source: LiveSource) -> list[bool]:
            return [source.may_see(labels) for labels in (frozenset(), frozenset({"other"}), frozenset({"hr"}))]

        assert self.run(act) == [True, True, True]
        assert self.run(act, {**self.options, "labels": ["hr"]}) == [False, False, True]

    def test_questions_find_their_passages(self) -> None:
        """Each question returns one passage of this source."""
        for question, reply, expected in self.answers:

            async def act(source: LiveSource, question: str = question, reply: str = reply) -> tuple[bool, Any]:
                async def ask(request: ChatRequest, model: str, /) -> str:
                    return reply

                return source.concerns(question), await source.answer(question, Exchange("conformance"), ask)

            concerns, passage = self.run(act)
            assert concerns
            assert passage is not None
            assert passage.source == "entry"
            assert expected in passage.text
