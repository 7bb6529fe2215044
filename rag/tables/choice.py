"""Which of a database's tables and columns may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.tables.rows import Column, EngineRefused


def chosen(
    there: Mapping[str, list[Column]], wanted: Mapping[str, Sequence[str]], name: str
) -> dict[str, list[Column]]:
    """Those of the tables that may be read. Raises `EngineRefused`.

    A table is meant by its own name, or in another case if no other table could be meant by it.
    """
    found: dict[str, list[Column]] = {}
    for table, columns in (wanted or dict.fromkeys(there, ())).items():
        same = [each for each in there if each.lower() == table.lower()]
        if table not in same and len(same) > 1:
            raise EngineRefused(f"{table} may be {' or '.join(sorted(same))}: write it as {name} does")
        real = table if table in same else next(iter(same), None)
        if real is None:
            raise EngineRefused(f"{name} has no table {table}; it has {', '.join(sorted(there)) or 'none'}")
        kept = [column for column in there[real] if not columns or column.name in columns]
        if missing := set(columns) - {column.name for column in kept}:
            raise EngineRefused(f"the table {real} has no column {', '.join(sorted(missing))}")
        found[real] = kept
    return found
