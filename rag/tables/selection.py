"""Selects the tables and columns of a database that may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.tables.rows import Column, EngineRefused


def select_tables(
    available: Mapping[str, list[Column]], wanted: Mapping[str, Sequence[str]], name: str
) -> dict[str, list[Column]]:
    """Returns the tables that may be read. Raises `EngineRefused`.

    A table's name may differ in case if only one table matches.
    """
    selected: dict[str, list[Column]] = {}
    for table, columns in (wanted or dict.fromkeys(available, ())).items():
        same = [each for each in available if each.lower() == table.lower()]
        if table not in same and len(same) > 1:
            raise EngineRefused(f"{table} is ambiguous, it may be {' or '.join(sorted(same))}: use the exact name")
        real = table if table in same else next(iter(same), None)
        if real is None:
            raise EngineRefused(f"{name} has no table {table}; it has {', '.join(sorted(available)) or 'none'}")
        readable = [column for column in available[real] if not columns or column.name in columns]
        if missing := set(columns) - {column.name for column in readable}:
            raise EngineRefused(f"the table {real} has no column {', '.join(sorted(missing))}")
        selected[real] = readable
    return selected
