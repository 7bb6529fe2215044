"""What every kind of source and tool keeps, as tests that its author inherits. This needs pytest.

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
    """What a process lends to sources and tools."""

    sources: Mapping[str, SearchableSource] = field(default_factory=dict)
    folder: Path = Path()
    egress: Egress = DIRECT
    pool: WorkPool = field(default_factory=lambda: WorkPool("conformance", 2))
    outbound: Outbound = field(default_factory=lambda: Outbound("conformance"))

    def source(self, name: str) -> SearchableSource:
        """See `config.tools.ToolParts`."""
        return self.sources[name]


class ToolConformance(ComponentConformance):
    """`calls`: arguments with what the answer has in it. `refused`: arguments that the tool can't work with."""

    config: type[ToolConfig]
    calls: Sequence[tuple[Mapping[str, Any], str]] = ()
    refused: Sequence[Mapping[str, Any]] = ()
    name: str = "entry"

    def lent(self) -> FakeServices:
        """Override it where the tool needs sources, or another way out."""
        return FakeServices()

    def run(self, act: Callable[[ReadingTool], Awaitable[R]]) -> R:
        """What `act` gives for the entry's first tool."""

        async def opened() -> R:
            lent = self.lent()
            try:
                first, *_ = await self.read(self.options).open(self.name, lent)
                return await act(first)
            finally:
                lent.pool.close()
                await lent.outbound.close()

        return asyncio.run(opened())

    def test_its_tools_are_named_after_the_entry(self) -> None:
        """A pipeline, and a router's `tools`, name the entry."""

        async def opened() -> Sequence[ReadingTool]:
            return list(await self.read(self.options).open(self.name, self.lent()))

        names = [tool.definition.name for tool in asyncio.run(opened())]
        assert names
        assert all(name == self.name or name.startswith(f"{self.name}_") for name in names)
        assert len(set(names)) == len(names)

    def test_a_model_is_told_what_it_is_for(self) -> None:
        """And which arguments it takes, as a JSON schema."""

        async def act(tool: ReadingTool) -> Any:
            return tool.definition

        definition = self.run(act)
        assert definition.description
        assert (definition.parameters or {}).get("type", "object") == "object"

    def test_its_calls_find_what_they_should(self) -> None:
        """And what they find is bounded."""
        for arguments, expected in self.calls:

            async def act(tool: ReadingTool, arguments: Mapping[str, Any] = arguments) -> str:
                return await tool.call(arguments, None)

            found = self.run(act)
            assert expected in found
            assert len(found) <= MAX_RESULT

    def test_what_it_cannot_work_with_is_told_to_the_model(self) -> None:
        """By an error whose message says what is wrong, never by another one."""
        for arguments in self.refused:

            async def act(tool: ReadingTool, arguments: Mapping[str, Any] = arguments) -> str:
                return await tool.call(arguments, None)

            with pytest.raises((ValueError, FetchFailed)) as failed:
                self.run(act)
            assert str(failed.value)


class DocumentSourceConformance(ComponentConformance):
    """`documents`: words that the bytes of each document have in them, by its id."""

    config: type[DocumentSourceConfig]
    documents: Mapping[str, str] = MappingProxyType({})

    def test_its_documents_are_there(self) -> None:
        """Each has an id of its own and gives its bytes and media type."""
        origin = self.read(self.options).origin(DIRECT)
        items = origin.items() if origin is not None else []
        assert sorted(each.id for each in items) == sorted(self.documents)
        for each in items:
            data, media_type = each.load()
            assert self.documents[each.id].encode() in data
            assert isinstance(media_type, str)
            assert len(each.id.encode()) <= MAX_ID_BYTES

    def test_nothing_is_read_again_that_has_not_changed(self) -> None:
        """The stamp stays the same, for two configs alike."""
        first, second = (self.read(self.options).origin(DIRECT) for _ in range(2))
        assert first is None or (second is not None and first.stamp() == second.stamp())

    def test_documents_come_from_one_side(self) -> None:
        """From where the config says, or handed in."""
        config = self.read(self.options)
        assert config.takes_documents == (config.origin(DIRECT) is None)

    def test_people_read_where_it_is(self) -> None:
        """`gatehouse plan` shows it."""
        assert self.read(self.options).where


class LiveSourceConformance(ComponentConformance):
    """`answers`: what a model says when it is asked, by a question, with what the source's passage has in it."""

    config: type[LiveSourceConfig]
    answers: Sequence[tuple[str, str, str]] = ()

    def lent(self) -> FakeServices:
        """Override it where the source needs another way out."""
        return FakeServices(folder=self.folder)

    def run(self, act: Callable[[LiveSource], Awaitable[R]], options: Mapping[str, Any] | None = None) -> R:
        """What `act` gives for the started source."""

        async def opened() -> R:
            lent = self.lent()
            source = self.read(self.options if options is None else options).open("entry", lent)
            try:
                await source.start()
                return await act(source)
            finally:
                await source.close()
                lent.pool.close()

        return asyncio.run(opened())

    def test_it_starts_and_says_how_it_is(self) -> None:
        """/health shows it."""

        async def act(source: LiveSource) -> tuple[str, str]:
            return source.name, source.status()

        name, status = self.run(act)
        assert name == "entry"
        assert status

    def test_only_those_with_a_label_may_ask(self) -> None:
        """Where it has labels."""

        async def act(source: LiveSource) -> list[bool]:
            return [source.may_see(labels) for labels in (frozenset(), frozenset({"other"}), frozenset({"hr"}))]

        assert self.run(act) == [True, True, True]
        assert self.run(act, {**self.options, "labels": ["hr"]}) == [False, False, True]

    def test_questions_find_their_passages(self) -> None:
        """Each as one passage of this source."""
        for question, said, expected in self.answers:

            async def act(source: LiveSource, question: str = question, said: str = said) -> tuple[bool, Any]:
                async def ask(request: ChatRequest, model: str, /) -> str:
                    return said

                return source.concerns(question), await source.answer(question, Exchange("conformance"), ask)

            concerns, passage = self.run(act)
            assert concerns
            assert passage is not None
            assert passage.source == "entry"
            assert expected in passage.text
