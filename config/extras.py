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

_CLASSIFIERS = ("injection", "toxicity", "topic", "anomaly")


def missing_extras(document: Document, spots: Iterable[Spot]) -> Iterator[Fault]:
    """What the config needs and this installation lacks."""
    for path, extra in (*needed_extras(document.data), *_needed_by_structs(spots)):
        absent = next((module for module in EXTRAS[extra] if not _is_installed(module)), "")
        if absent:
            cure = f"pip install 'gatehouse-platform[{extra}]', or [all]{_instead(document.data, path)}"
            yield Fault(path, place(document, path), f"this needs the package {absent}, which is not installed", cure)


def _instead(data: Mapping[str, Any], path: Path) -> str:
    """What does without the extra, where much of what is asked for does."""
    section, name = path[0], path[1]
    kind = _mapping(_mapping(data.get(str(section))).get(str(name))).get("kind")
    if (section, kind) != ("guardrails", "personal_data"):
        return ""
    return "; or mask only what has a form: types: {person: allow, address: allow}"


@functools.cache
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _needed_by_structs(spots: Iterable[Spot]) -> Iterator[tuple[Path, str]]:
    for spot in spots:
        struct = spot.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(spot.value, Mapping):
            for rest, extra in struct.needed_extras(spot.value):
                yield (*spot.path, *rest), extra


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


def _of_guardrail(guardrail: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    kind = guardrail.get("kind")
    if kind in _CLASSIFIERS or (kind == "personal_data" and _finds_names(_mapping(guardrail.get("types")))):
        yield ("kind",), "embeddings"
    if kind == "format" and (guardrail.get("schema") is not None or guardrail.get("must_be") == "sql"):
        yield ("must_be",), "formats"


def _finds_names(types: Mapping[str, Any]) -> bool:
    """Whether persons or addresses are looked for (they are unless allowed), or organisations or places (if asked)."""
    usual = {"person": "mask", "address": "mask", "organisation": "allow", "location": "allow"}
    return any(types.get(kind, action) != "allow" for kind, action in usual.items())


_SECTIONS = {"guardrails": _of_guardrail}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
