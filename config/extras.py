"""Packages that only some configs need: which of Gatehouse's extras installs them, and whether they are installed."""

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
"""The modules of each extra. A config that needs an extra is an error without them.

Packages that only some documents need are not listed: a document without its package gets its own error.
"""


def missing_extras(document: YamlDocument, nodes: Iterable[ConfigNode]) -> Iterator[Fault]:
    """Yields a fault for each option whose package is not installed."""
    for path, extra, instead in _needed(nodes):
        absent = next((module for module in EXTRAS[extra] if not _is_installed(module)), "")
        if absent:
            cure = f"pip install 'gatehouse-platform[{extra}]', or [all]{f'; or {instead}' if instead else ''}"
            yield Fault(path, place(document, path), f"this needs the package {absent}, which is not installed", cure)


def _needed(nodes: Iterable[ConfigNode]) -> Iterator[tuple[Path, str, str]]:
    """Yields the path of each option that needs an extra, the extra, and an alternative, as the structs report them."""
    for node in nodes:
        struct = node.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(node.value, Mapping):
            for rest, extra in struct.needed_extras(node.value):
                yield (*node.path, *rest), extra, struct.without_extra


@functools.cache
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
