"""Packages that only some configs need: which extra of ours brings them, and whether they are installed here."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator, Mapping

from config.document import Fault, Path, YamlDocument
from config.explain import place
from config.shape import ConfigNode
from config.struct import Struct

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "database": ("sqlalchemy", "alembic", "aiosqlite"),
    "embeddings": ("onnxruntime", "tokenizers", "numpy"),
    "formats": ("jsonschema", "sqlglot"),
    "http2": ("h2",),
    "postgres": ("asyncpg",),
    "redis": ("redis",),
    "retrieval": ("tantivy", "faiss"),
    "tables": ("sqlglot", "duckdb", "pymysql", "asyncpg"),
    "telemetry": (
        "opentelemetry.sdk",
        "opentelemetry.exporter.otlp.proto.http",
        "opentelemetry.exporter.otlp.proto.grpc",
    ),
    "tools": ("mcp",),
}
"""Modules of each extra whose absence stops a config that needs it. What only some documents need is told for each."""


def missing_extras(document: YamlDocument, spots: Iterable[ConfigNode]) -> Iterator[Fault]:
    """What the config needs and this installation lacks."""
    for path, extra, instead in _needed(spots):
        absent = next((module for module in EXTRAS[extra] if not _is_installed(module)), "")
        if absent:
            cure = f"pip install 'gatehouse-platform[{extra}]', or [all]{f'; or {instead}' if instead else ''}"
            yield Fault(path, place(document, path), f"this needs the package {absent}, which is not installed", cure)


def _needed(spots: Iterable[ConfigNode]) -> Iterator[tuple[Path, str, str]]:
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
