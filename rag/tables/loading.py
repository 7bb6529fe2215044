"""Loads files into DuckDB tables: CSV with our own format and type detection, Parquet with the library's reader."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rag.tables.csv_format import CsvFormat, detect_format, write_plain
from rag.tables.csv_types import column_types
from rag.tables.rows import Column


def load_table(connection: Any, name: str, path: Path) -> list[Column]:
    """Creates the table and returns its columns. Raises DuckDB's errors and `ValueError`."""
    if path.suffix.lower() == ".parquet":
        return _load_parquet(connection, name, path)
    with tempfile.TemporaryDirectory(prefix="gatehouse-csv-") as folder:
        plain = Path(folder) / "plain.csv"
        csv_format = detect_format(path)
        longest = write_plain(path, csv_format, plain)
        return _load_csv(connection, name, csv_format, plain, longest)


def _load_parquet(connection: Any, name: str, path: Path) -> list[Column]:
    source_columns = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    # Convert timestamps with a time zone to UTC, which needs no time zone database.
    read = ", ".join(
        f"CAST({quoted(each[0])} AS TIMESTAMP) AS {quoted(each[0])}"
        if each[1] == "TIMESTAMP WITH TIME ZONE"
        else quoted(each[0])
        for each in source_columns
    )
    connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT {read} FROM read_parquet(?)", [str(path)])  # noqa: S608
    described = connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
    zoned = {each[0] for each in source_columns if each[1] == "TIMESTAMP WITH TIME ZONE"}
    return [Column(each[0], f"{each[1]} in UTC" if each[0] in zoned else each[1]) for each in described]


def _load_csv(connection: Any, name: str, csv_format: CsvFormat, plain: Path, longest: int) -> list[Column]:
    texts = "{" + ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(csv_format.names))) + "}"
    connection.execute(
        f"CREATE TEMP TABLE texts AS SELECT * FROM read_csv(?, auto_detect=false, header=false, delim=',', quote='\"', "  # noqa: S608
        f"escape='\"', columns={texts}, nullstr='', allow_quoted_nulls=true, parallel=false, max_line_size={longest}, "
        f"buffer_size={longest * 2})",
        [str(plain)],
    )
    types = column_types(connection, "texts", len(csv_format.names), csv_format.delimiter)
    read = ", ".join(
        f"{kind.read(f'c{at}')} AS {quoted(column)}"
        for at, (column, kind) in enumerate(zip(csv_format.names, types, strict=True))
    )
    connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT {read} FROM texts")  # noqa: S608
    connection.execute("DROP TABLE texts")
    return [
        Column(column, f"{kind.name} in {kind.unit}" if kind.unit else kind.name)
        for column, kind in zip(csv_format.names, types, strict=True)
    ]


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
