"""Packages that only some configs need: which extra of ours brings them, and whether they are installed here."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from config.document import Document, Fault, Path
from config.explain import place
from config.shape import Spot
from config.struct import Struct

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "database": ("sqlalchemy", "alembic", "aiosqlite"),
    "embeddings": ("onnxruntime", "tokenizers", "numpy"),
    "formats": ("jsonschema", "sqlglot"),
    "postgres": ("asyncpg",),
    "redis": ("redis",),
    "retrieval": ("tantivy", "faiss"),
    "tables": ("sqlglot", "duckdb", "pymysql", "asyncpg"),
    "tools": ("mcp",),
}
"""Modules of each extra whose absence stops a config that needs it. What only some documents need is told for each."""

_DOCUMENTS = ("folder", "web", "documents")


def missing_extras(document: Document, spots: Iterable[Spot]) -> Iterator[Fault]:
    """What the config needs and this installation lacks."""
    needed = [(path, extra, "") for path, extra in needed_extras(document.data)]
    for path, extra, instead in (*needed, *_needed_by_structs(spots)):
        absent = next((module for module in EXTRAS[extra] if not _is_installed(module)), "")
        if absent:
            cure = f"pip install 'gatehouse-platform[{extra}]', or [all]{f'; or {instead}' if instead else ''}"
            yield Fault(path, place(document, path), f"this needs the package {absent}, which is not installed", cure)


def _needed_by_structs(spots: Iterable[Spot]) -> Iterator[tuple[Path, str, str]]:
    """What the structs themselves say of their options, and what does without it."""
    for spot in spots:
        struct = spot.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(spot.value, Mapping):
            for rest, extra in struct.needed_extras(spot.value):
                yield (*spot.path, *rest), extra, struct.without_extra


@functools.cache
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def needed_extras(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where in a config something needs an extra, and which. Takes whatever the file holds."""
    server = _mapping(data.get("server"))
    for key in ("redis", "database"):
        if server.get(key) is not None:
            yield ("server", key), key
    if "postgres" in str(server.get("database") or "")[:10]:
        yield ("server", "database"), "postgres"
    for section, needs in _SECTIONS.items():
        for name, each in _mapping(data.get(section)).items():
            for rest, extra in needs(_mapping(each)):
                yield (section, name, *rest), extra


def _of_source(source: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if source.get("kind") == "sql":
        yield ("kind",), "tables"
    if source.get("kind") in _DOCUMENTS:
        yield ("kind",), "retrieval"
        if source.get("store") is not None:
            yield ("store",), "postgres"


def _of_cache(cache: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if cache.get("semantic") is not None:
        yield ("semantic",), "embeddings"
    tiers = cache.get("tiers")
    for number, tier in enumerate(tiers if isinstance(tiers, (list, tuple)) else ()):
        if _mapping(tier).get("kind") == "postgres":
            yield ("tiers", number), "postgres"


def _of_router(router: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if router.get("intents"):
        yield ("intents",), "embeddings"


def _of_tool(tool: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    if tool.get("kind") == "mcp":
        yield ("kind",), "tools"


_SECTIONS = {
    "sources": _of_source,
    "caches": _of_cache,
    "routers": _of_router,
    "tools": _of_tool,
}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
