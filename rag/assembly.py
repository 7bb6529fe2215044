"""Builds sources, tools and context phases from their configs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from config.folders import cache_folder
from config.kinds import opening
from config.sources import DocumentSourceConfig, LiveSourceConfig
from contract.egress import DIRECT, Egress
from contract.work import WorkPool
from rag.chunkers import Chunking
from rag.collection import Collection, Search
from rag.documents.worker import Limits
from rag.embedder import NAME
from rag.provider_embedder import SourceEmbedder
from rag.source import Source
from rag.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from config.root import Config
    from config.sections import ContextConfig, RerankConfig
    from config.tools import ToolConfig
    from contract.embedding import Vectors
    from contract.outbound import Outbound
    from contract.passages import ContextQuality
    from contract.phases import Context, GatewayTools
    from contract.pools import Pools
    from contract.sources import LiveSource
    from contract.tools import ReadingTool
    from rag.documents.process import Readers
    from rag.provider_embedder import ProviderEmbedder
    from rag.quality import QualityJudge
    from rag.rerank import Reranker
    from rag.store import Store

# How many queries of one engine's SQL sources run at once; each waits for its own process or server.
_SQL_THREADS = 6


class RetrievalServices(Protocol):
    """The process-wide services that retrieval uses."""

    pools: Pools
    egress: Egress
    quality: dict[str, ContextQuality]

    def embedder(self) -> Vectors:
        """The built-in embedding model."""
        ...

    def local_embedder(self, folder: Path, dimensions: int) -> Vectors:
        """A sentence-transformers model."""
        ...

    def provider_embedder(self, model: str, dimensions: int) -> ProviderEmbedder:
        """A provider's embedding model."""
        ...

    def readers(self) -> Readers:
        """The processes that parse documents."""
        ...

    async def source(self, key: tuple[str, Path, object], make: Callable[[], Source]) -> Source:
        """Returns the started source with that key; `make` builds it on first use."""
        ...

    async def leave_source(self, source: Source) -> None:
        """Releases one engine's reference to the source."""
        ...


@dataclass(frozen=True)
class _SourceParts:
    """Implements `config.sources.SourceParts`."""

    folder: Path
    pool: WorkPool
    egress: Egress


@dataclass(frozen=True)
class _ToolParts:
    """Implements `config.tools.ToolParts`."""

    pool: WorkPool
    outbound: Outbound
    egress: Egress
    sources: Mapping[str, Source]

    def source(self, name: str) -> Source:
        """See `ToolParts.source`."""
        return self.sources[name]


class Retrieval:
    """The open sources and tools of one config, and the context phases and tool boxes of its pipelines."""

    def __init__(self, config: Config, services: RetrievalServices) -> None:
        self._config = config
        self._services = services
        self.sources: dict[str, Source] = {}
        self._live: dict[str, LiveSource] = {}
        self._tools: dict[str, Sequence[ReadingTool]] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Opens all sources and tools; `stack` closes them. Raises `OSError` and whatever a live source raises."""
        await self._open_documents(stack)
        await self._open_live(stack)
        pools = self._services.pools
        parts = _ToolParts(pools.tools, pools.tool_calls, self._services.egress, self.sources)
        for name, config in self._config.tools.items():
            self._tools[name] = await open_tools(name, config, parts)

    async def _open_documents(self, stack: AsyncExitStack) -> None:
        """A source whose config is unchanged survives a reload, so its indexes are not rebuilt."""
        services = self._services
        for name, each in documents_of(self._config).items():
            place = place_of(self._config, name)
            self.sources[name] = await services.source(
                (name, place, (each, services.egress) if each.asks_hosts else each),
                partial(
                    open_source,
                    name,
                    each,
                    place,
                    embedder_of(name, each, services),
                    partial(_known_embedder, self._config, services, name),
                    services.readers(),
                    services.egress,
                ),
            )
            stack.push_async_callback(services.leave_source, self.sources[name])

    async def _open_live(self, stack: AsyncExitStack) -> None:
        live = {name: each for name, each in self._config.sources.items() if isinstance(each, LiveSourceConfig)}
        if not live:
            return
        pool = WorkPool("sql", _SQL_THREADS)
        stack.callback(pool.close)
        parts = _SourceParts(Path(self._config.origin).parent, pool, self._services.egress)
        for name, each in live.items():
            with opening("sources", name):
                self._live[name] = each.open(name, parts)
            stack.push_async_callback(self._live[name].close)
            await self._live[name].start()

    def status(self) -> dict[str, Callable[[], str]]:
        """Returns a function per source that gives its status as one line of text."""
        documents = {name: source.status for name, source in self.sources.items()}
        return documents | {name: live.status for name, live in self._live.items()}

    def tools(self, names: Sequence[str], steps: int = 1) -> GatewayTools | None:
        """The tools of these entries, for up to `steps` rounds of calls; None if `names` is empty."""
        if not names:
            return None
        from rag.tools.box import ToolBox

        return ToolBox([tool for name in names for tool in self._tools[name]], steps)

    def context(self, pipeline: str) -> Context | None:
        """The context phase of one pipeline; None if it has none."""
        config = self._config.pipelines[pipeline].context
        if config is None:
            return None
        from rag.phase import RetrievedContext
        from rag.rewrite import Rewriter

        rewriter = None
        look_up = self.tools(config.lookup_tools)
        if config.rewrite is not None:
            model = None if config.rewrite == "rules" else config.rewrite
            definitions = look_up.definitions if look_up is not None else ()
            rewriter = Rewriter(model, queries=config.queries, tools=definitions)
        return RetrievedContext(
            {name: self.sources[name] for name in config.sources if name in self.sources},
            config.max_passages,
            config.max_tokens,
            [self._live[name] for name in config.sources if name in self._live],
            rewriter,
            self._reranker(config.rerank),
            look_up,
            self._judge(pipeline, config),
        )

    def _judge(self, pipeline: str, config: ContextConfig) -> QualityJudge | None:
        if config.quality is None:
            return None
        from contract.passages import ContextQuality
        from rag.quality import QualityJudge

        quality = self._services.quality.setdefault(pipeline, ContextQuality())
        return QualityJudge(config.quality.model, config.quality.share, quality)

    def _reranker(self, config: RerankConfig | None) -> Reranker | None:
        if config is None:
            return None
        from rag.rerank import EndpointReranker, ModelReranker, SentenceReranker

        if config.url is not None:
            key = config.key.reveal() if config.key is not None else ""
            return EndpointReranker(
                config.url,
                key,
                config.model,
                timeout_s=config.timeout,
                outbound=self._services.pools.rerank_calls,
                private=config.private,
                egress=self._services.egress,
            )
        if config.by == "sentences":
            return SentenceReranker(self._services.embedder())
        return ModelReranker(config.by or "")


def documents_of(config: Config) -> dict[str, DocumentSourceConfig]:
    """The document sources of a config, without its live sources."""
    return {name: each for name, each in config.sources.items() if isinstance(each, DocumentSourceConfig)}


def place_of(config: Config, name: str) -> Path:
    """The folder that holds a source's data. Without `server.data` its name depends on what the source reads from."""
    if config.server.data is not None:
        return config.server.data / "sources" / name
    identity = documents_of(config)[name].made_from or f"{config.origin}/{name}"
    return cache_folder() / "sources" / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def embedder_of(source: str, config: DocumentSourceConfig, services: RetrievalServices) -> Vectors:
    """The embedder of a source's documents; a provider's model is called only after an engine has been built."""
    embedder = config.embedder
    if embedder is None:
        return services.embedder()
    if embedder.sentence_transformers is not None:
        return services.local_embedder(embedder.sentence_transformers, embedder.dimensions)
    return SourceEmbedder(services.provider_embedder(embedder.model or "", embedder.dimensions), source)


def _known_embedder(config: Config, services: RetrievalServices, source: str, name: str) -> Vectors | None:
    """The embedder whose vectors are stored under `name`, if it is still available."""
    model, _, dimensions = name.rpartition("-")
    if name == NAME:
        return services.embedder()
    folder = Path(model.removeprefix("st:"))
    if model.startswith("st:") and dimensions.isdigit() and folder.is_dir():
        return services.local_embedder(folder, int(dimensions))
    if model in config.models and dimensions.isdigit():
        return SourceEmbedder(services.provider_embedder(model, int(dimensions)), source)
    return None


def open_source(
    name: str,
    config: DocumentSourceConfig,
    place: Path,
    embedder: Vectors | None,
    known_embedder: Callable[[str], Vectors | None] = lambda name: None,
    readers: Readers | None = None,
    egress: Egress = DIRECT,
) -> Source:
    """Builds one source without starting it. `known` returns embedders by name, to use vectors that already exist.

    `readers` are the processes that parse its documents; web pages are fetched through `egress`.
    """
    search = Search(
        config.search.fusion,
        config.search.words_weight,
        config.search.index,
        config.search.language,
        config.search.feedback,
    )

    def collection_with(embedder: Vectors | None) -> Collection:
        return Collection(name, _store(name, config, place), place / "index", embedder, search)

    def earlier(embedder_name: str) -> Collection | None:
        embedder = known_embedder(embedder_name)
        return collection_with(embedder) if embedder is not None else None

    collection = collection_with(embedder)
    chunking = Chunking(config.chunk.by, config.chunk.size, config.chunk.overlap)
    limits = Limits(config.read.timeout, config.read.memory, config.read.size, config.read.max_chunks)
    with opening("sources", name):
        origin = config.origin(egress)
    reader = readers.reader(f"source {name}", limits) if readers is not None else None
    return Source(
        collection,
        chunking,
        place / "ingest.lock",
        origin,
        earlier=earlier,
        labels=config.labels,
        reader=reader,
    )


def _store(name: str, config: DocumentSourceConfig, place: Path) -> Store:
    if config.store is None:
        return SqliteStore(place / "documents.sqlite")
    from rag.postgres_store import PostgresStore

    return PostgresStore(config.store.reveal(), name)


async def open_tools(name: str, config: ToolConfig, parts: _ToolParts) -> Sequence[ReadingTool]:
    """Opens the tools of one entry, with a cache for their results if the config asks for one."""
    with opening("tools", name):
        tools = await config.open(name, parts)
    if not config.keep_s:
        return tools
    from rag.tools.remembered import RememberedTool

    return [RememberedTool(tool, config.keep_s) for tool in tools]
