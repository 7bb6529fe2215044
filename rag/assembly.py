"""Sources from their configs: the part of the composition root that knows them, imported only when one is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from config.folders import cache_folder
from config.sources import FolderConfig, SqlConfig, WebConfig
from config.tools import ENGINES, HttpToolConfig, McpConfig, SourceToolConfig, WebSearchConfig
from contract.egress import DIRECT, Egress
from contract.messages import Tool
from rag.chunkers import Chunking
from rag.collection import Collection, Search
from rag.documents.worker import Limits
from rag.folder import folder_items, snapshot
from rag.source import Origin, Source
from rag.sqlite_store import SqliteStore
from rag.tools.fetch import FetchFailed
from rag.web import turn, web_items

if TYPE_CHECKING:
    from config.root import Config
    from config.sources import DocumentSource
    from config.tools import ToolConfig
    from contract.embedding import Vectors
    from contract.work import WorkPool
    from rag.documents.process import Readers
    from rag.store import Store
    from rag.tables.engines import Engine
    from rag.tables.source import TableSource
    from rag.tools.kinds import ReadingTool


def place_of(config: Config, name: str) -> Path:
    """Where a source is kept on this machine. Without `server.data` what is kept goes by what it is made from."""
    if config.server.data is not None:
        return config.server.data / "sources" / name
    source = config.sources[name]
    about = str(source.path) if isinstance(source, FolderConfig) else f"{config.origin}/{name}"
    return cache_folder() / "sources" / f"{name}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"


def open_source(
    name: str,
    config: DocumentSource,
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
    limits = Limits(config.read.timeout, config.read.memory, config.read.size, config.read.chunks)
    reader = readers.reader(f"source {name}", limits) if readers is not None else None
    return Source(
        collection,
        chunking,
        place / "ingest.lock",
        _origin(config, egress),
        earlier=earlier,
        labels=config.labels,
        reader=reader,
    )


def _store(name: str, config: DocumentSource, place: Path) -> Store:
    if config.store is None:
        return SqliteStore(place / "documents.sqlite")
    from rag.postgres_store import PostgresStore

    return PostgresStore(config.store.reveal(), name)


def open_tables(name: str, config: SqlConfig, beside: Path, pool: WorkPool | None = None) -> TableSource:
    """One source of rows, not yet started. `beside` is where relative paths of a database start.

    `pool` has the threads that wait for queries; without it the source has its own.
    """
    from rag.tables.proving import Prover
    from rag.tables.source import TableSource

    return TableSource(
        name,
        _engine(config, beside, pool),
        config.model,
        config.tables,
        hint=config.hint,
        timeout_s=config.timeout,
        max_rows=config.max_rows,
        labels=frozenset(config.labels),
        keep_s=config.keep,
        prover=Prover(pool),
    )


async def open_tools(
    name: str, config: ToolConfig, sources: Mapping[str, Source], pool: WorkPool, egress: Egress = DIRECT
) -> Sequence[ReadingTool]:
    """The tools of one entry: one, but for MCP servers. One that is away offers none until the next reload.

    `pool` holds the threads that wait for their servers, `egress` is the way to them.
    """
    made = await _tools(name, config, sources, pool, egress)
    # A source gives each caller what that one may see, and remembers by itself.
    if isinstance(config, SourceToolConfig) or not config.keep:
        return made
    from rag.tools.remembered import RememberedTool

    return [RememberedTool(tool, config.keep) for tool in made]


async def _tools(
    name: str, config: ToolConfig, sources: Mapping[str, Source], pool: WorkPool, egress: Egress
) -> Sequence[ReadingTool]:
    if not isinstance(config, McpConfig):
        return [_tool(name, config, sources, pool, egress)]
    from rag.tools.mcp_server import McpServer

    headers = {key: value.reveal() for key, value in config.headers.items()}
    server = McpServer(name, config.url, headers, timeout_s=config.timeout, egress=egress)
    try:
        return await server.tools(config.allow)
    except (FetchFailed, TimeoutError) as error:
        structlog.get_logger().warning("an MCP server offers nothing", tool=name, problem=str(error) or "timeout")
        return []


def _tool(
    name: str,
    config: HttpToolConfig | WebSearchConfig | SourceToolConfig,
    sources: Mapping[str, Source],
    pool: WorkPool,
    egress: Egress,
) -> ReadingTool:
    from rag.tools import kinds

    if isinstance(config, HttpToolConfig):
        headers = {key: value.reveal() for key, value in config.headers.items()}
        definition = Tool(name, config.description, config.schema_of_arguments)
        return kinds.HttpTool(
            definition, config.url, headers, timeout_s=config.timeout, pool=pool, private=config.private, egress=egress
        )
    if isinstance(config, WebSearchConfig):
        url = (config.url or ENGINES.get(config.engine, "")).rstrip("/")
        key = config.key.reveal() if config.key is not None else ""
        return kinds.WebSearch(
            name, config.engine, url, key, timeout_s=config.timeout, pool=pool, private=config.private, egress=egress
        )
    return kinds.SourceTool(name, config.description, sources[config.source], config.top, config.source)


def _engine(config: SqlConfig, beside: Path, pool: WorkPool | None) -> Engine:
    from rag.tables.engines import FilesEngine, SqliteEngine

    if config.database is None:
        return FilesEngine(config.files, pool, config.tables)
    url = config.database.reveal()
    if url.startswith("sqlite:///"):
        return SqliteEngine((beside / url.removeprefix("sqlite:///")).resolve(), pool)
    if url.startswith("mysql://"):
        from rag.tables.mysql import MysqlEngine

        return MysqlEngine(url, config.max_cost, pool)
    from rag.tables.postgres import PostgresEngine

    return PostgresEngine(url, config.max_cost)


def _origin(config: DocumentSource, egress: Egress) -> Origin | None:
    stamp: Callable[[], object]
    if isinstance(config, FolderConfig):
        stamp = partial(snapshot, config.path, config.glob)
        return Origin(partial(folder_items, config.path, config.glob, config.read.size), stamp, config.watch)
    if isinstance(config, WebConfig):
        return Origin(partial(web_items, config.urls, egress), partial(turn, config.every))
    return None
