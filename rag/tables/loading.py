"""A file becomes a table of DuckDB: CSV by our own reading of its form and types, Parquet by the library's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rag.tables.csv_form import CsvForm, read_form, write_plain
from rag.tables.csv_types import column_types
from rag.tables.rows import Column


def load_table(connection: Any, name: str, path: Path) -> list[Column]:
    """Makes the table and gives its columns. Raises what the library raises, and `ValueError`."""
    if path.suffix.lower() == ".parquet":
        return _load_parquet(connection, name, path)
    with tempfile.TemporaryDirectory(prefix="gatehouse-csv-") as folder:
        plain = Path(folder) / "plain.csv"
        form = read_form(path)
        longest = write_plain(path, form, plain)
        return _load_csv(connection, name, form, plain, longest)


def _load_parquet(connection: Any, name: str, path: Path) -> list[Column]:
    about = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    # Moments in a time zone become moments in UTC: those need no table of zones to be shown.
    read = ", ".join(
        f"CAST({quoted(each[0])} AS TIMESTAMP) AS {quoted(each[0])}"
        if each[1] == "TIMESTAMP WITH TIME ZONE"
        else quoted(each[0])
        for each in about
    )
    connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT {read} FROM read_parquet(?)", [str(path)])  # noqa: S608
    described = connection.execute(f"DESCRIBE {quoted(name)}").fetchall()
    zoned = {each[0] for each in about if each[1] == "TIMESTAMP WITH TIME ZONE"}
    return [Column(each[0], f"{each[1]} in UTC" if each[0] in zoned else each[1]) for each in described]


def _load_csv(connection: Any, name: str, form: CsvForm, plain: Path, longest: int) -> list[Column]:
    texts = "{" + ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(form.names))) + "}"
    connection.execute(
        f"CREATE TEMP TABLE texts AS SELECT * FROM read_csv(?, auto_detect=false, header=false, delim=',', quote='\"', "  # noqa: S608
        f"escape='\"', columns={texts}, nullstr='', allow_quoted_nulls=true, parallel=false, max_line_size={longest}, "
        f"buffer_size={longest * 2})",
        [str(plain)],
    )
    types = column_types(connection, "texts", len(form.names), form.delimiter)
    read = ", ".join(
        f"{kind.read(f'c{at}')} AS {quoted(column)}"
        for at, (column, kind) in enumerate(zip(form.names, types, strict=True))
    )
    connection.execute(f"CREATE TABLE {quoted(name)} AS SELECT {read} FROM texts")  # noqa: S608
    connection.execute("DROP TABLE texts")
    return [
        Column(column, f"{kind.name} in {kind.unit}" if kind.unit else kind.name)
        for column, kind in zip(form.names, types, strict=True)
    ]


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'
