"""Sources, tools and contexts from their configs: what the composition root knows of retrieval."""

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

# Queries of one engine's sources that run at once; each waits for a process or a server of its own.
_SQL_THREADS = 6


class RetrievalServices(Protocol):
    """What a process lends to retrieval."""

    pools: Pools
    egress: Egress
    quality: dict[str, ContextQuality]

    def embedder(self) -> Vectors:
        """The embedding model that ships."""
        ...

    def local_embedder(self, folder: Path, dimensions: int) -> Vectors:
        """A model of sentence-transformers."""
        ...

    def provider_embedder(self, model: str, dimensions: int) -> ProviderEmbedder:
        """A provider's embedding model."""
        ...

    def readers(self) -> Readers:
        """The processes that read documents."""
        ...

    async def source(self, key: tuple[str, Path, object], make: Callable[[], Source]) -> Source:
        """The started source of that key, made once."""
        ...

    async def leave_source(self, source: Source) -> None:
        """Says that one engine less uses it."""
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
    """The sources and tools of one config, open: contexts and tool boxes of its pipelines are made of them."""

    def __init__(self, config: Config, lends: RetrievalServices) -> None:
        self._config = config
        self._lends = lends
        self.sources: dict[str, Source] = {}
        self._live: dict[str, LiveSource] = {}
        self._tools: dict[str, Sequence[ReadingTool]] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Opens all; `stack` closes them. Raises what a source that is asked each time raises, and `OSError`."""
        await self._open_documents(stack)
        await self._open_live(stack)
        pools = self._lends.pools
        parts = _ToolParts(pools.tools, pools.tool_calls, self._lends.egress, self.sources)
        for name, config in self._config.tools.items():
            self._tools[name] = await open_tools(name, config, parts)

    async def _open_documents(self, stack: AsyncExitStack) -> None:
        """Sources outlive a reload that leaves them as they are: their indexes are not made again."""
        lends = self._lends
        for name, each in documents_of(self._config).items():
            place = place_of(self._config, name)
            self.sources[name] = await lends.source(
                (name, place, (each, lends.egress) if each.asks_hosts else each),
                partial(
                    open_source,
                    name,
                    each,
                    place,
                    embedder_of(name, each, lends),
                    partial(_known_embedder, self._config, lends, name),
                    lends.readers(),
                    lends.egress,
                ),
            )
            stack.push_async_callback(lends.leave_source, self.sources[name])

    async def _open_live(self, stack: AsyncExitStack) -> None:
        live = {name: each for name, each in self._config.sources.items() if isinstance(each, LiveSourceConfig)}
        if not live:
            return
        pool = WorkPool("sql", _SQL_THREADS)
        stack.callback(pool.close)
        parts = _SourceParts(Path(self._config.origin).parent, pool, self._lends.egress)
        for name, each in live.items():
            with opening("sources", name):
                self._live[name] = each.open(name, parts)
            stack.push_async_callback(self._live[name].close)
            await self._live[name].start()

    def status(self) -> dict[str, Callable[[], str]]:
        """How each source is, in a line for people."""
        documents = {name: source.status for name, source in self.sources.items()}
        return documents | {name: live.status for name, live in self._live.items()}

    def tools(self, names: Sequence[str], steps: int = 1) -> GatewayTools | None:
        """The tools of these entries, which a model may call so often; None where there are none."""
        if not names:
            return None
        from rag.tools.box import ToolBox

        return ToolBox([tool for name in names for tool in self._tools[name]], steps)

    def context(self, pipeline: str) -> Context | None:
        """The context phase of one pipeline."""
        config = self._config.pipelines[pipeline].context
        if config is None:
            return None
        from rag.phase import RetrievedContext
        from rag.rewrite import Rewriter

        rewriter = None
        look_up = self.tools(config.lookup_tools)
        if config.rewrite is not None:
            model = None if config.rewrite == "rules" else config.rewrite
            known = look_up.definitions if look_up is not None else ()
            rewriter = Rewriter(model, queries=config.queries, tools=known)
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

        quality = self._lends.quality.setdefault(pipeline, ContextQuality())
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
                outbound=self._lends.pools.rerank_calls,
                private=config.private,
                egress=self._lends.egress,
            )
        if config.by == "sentences":
            return SentenceReranker(self._lends.embedder())
        return ModelReranker(config.by or "")


def documents_of(config: Config) -> dict[str, DocumentSourceConfig]:
    """The sources of documents, without those that are asked each time."""
    return {name: each for name, each in config.sources.items() if isinstance(each, DocumentSourceConfig)}


def place_of(config: Config, name: str) -> Path:
    """Where a source is kept on this machine. Without `server.data` what is kept goes by what it is made from."""
    if config.server.data is not None:
        return config.server.data / "sources" / name
    about = documents_of(config)[name].made_from or f"{config.origin}/{name}"
    return cache_folder() / "sources" / f"{name}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def embedder_of(source: str, config: DocumentSourceConfig, lends: RetrievalServices) -> Vectors:
    """What embeds a source's documents; a provider's model is asked once an engine has been built."""
    embedder = config.embedder
    if embedder is None:
        return lends.embedder()
    if embedder.sentence_transformers is not None:
        return lends.local_embedder(embedder.sentence_transformers, embedder.dimensions)
    return SourceEmbedder(lends.provider_embedder(embedder.model or "", embedder.dimensions), source)


def _known_embedder(config: Config, lends: RetrievalServices, source: str, name: str) -> Vectors | None:
    """The embedder whose vectors are kept under `name`, if it can still be asked."""
    model, _, dimensions = name.rpartition("-")
    if name == NAME:
        return lends.embedder()
    folder = Path(model.removeprefix("st:"))
    if model.startswith("st:") and dimensions.isdigit() and folder.is_dir():
        return lends.local_embedder(folder, int(dimensions))
    if model in config.models and dimensions.isdigit():
        return SourceEmbedder(lends.provider_embedder(model, int(dimensions)), source)
    return None


def open_source(
    name: str,
    config: DocumentSourceConfig,
    place: Path,
    embedder: Vectors | None,
    known: Callable[[str], Vectors | None] = lambda name: None,
    readers: Readers | None = None,
    egress: Egress = DIRECT,
) -> Source:
    """One source, not yet started. `known` gives embedders by their names, for vectors that are there already.

    `readers` are the processes that read its documents, `egress` the way to web pages.
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
        found = known(embedder_name)
        return collection_with(found) if found is not None else None

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
    """The tools of one entry, which remember what they found where the config says so."""
    with opening("tools", name):
        made = await config.open(name, parts)
    if not config.keep_s:
        return made
    from rag.tools.remembered import RememberedTool

    return [RememberedTool(tool, config.keep_s) for tool in made]
