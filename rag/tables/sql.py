"""The config of the source kind `sql`.

It is separate from `rag.tables.source`, whose imports are too heavy for `gatehouse check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from config.document import Path
from config.findings import wrong
from config.secret import Secret
from config.sources import ExistingFile, LiveSourceConfig, SourceParts
from config.struct import Label, Name, Number, Ref, Whole
from config.units import Duration, Pause

if TYPE_CHECKING:
    from rag.tables.engines import TableEngine
    from rag.tables.source import TableSource


def _database(value: object) -> object:
    if isinstance(value, str) and re.match(r"(?:sqlite:///|postgres(?:ql)?://|mysql://).", value) is None:
        raise wrong(
            "this is not a database URL",
            "use sqlite:///path, postgresql://user@host/name or mysql://user@host/name",
        )
    return value


class SqlConfig(LiveSourceConfig):
    """Rows of a database, or of CSV and Parquet files, queried with read-only SQL that a model writes."""

    needs = (("database",), ("files",))

    kind: Literal["sql"] = Field(description="Rows of a database or of files.")
    database: Annotated[Secret | None, BeforeValidator(_database)] = Field(
        default=None,
        description="sqlite:///path (relative to this file), postgresql://... or mysql://... (also MariaDB), a role "
        "with only read access.",
        examples=["${ORDERS_DATABASE}"],
    )
    files: dict[Name, ExistingFile] = Field(
        default={}, description="CSV and Parquet files by table name.", examples=["{orders: orders.csv}"]
    )
    model: Annotated[str, Ref("models", "model")] = Field(description="The model that writes the SQL.")
    tables: dict[str, tuple[str, ...]] = Field(
        default={},
        description="The tables that may be read, with their columns; no columns means all, no tables means all.",
        examples=["{orders: [], customers: [id, region]}"],
    )
    hint: str = Field(default="", description="What the model should know about the tables.")
    max_rows: Whole = Field(default=50, ge=1, le=1000, description="The maximum number of rows.")
    max_cost: Number = Field(
        default=1_000_000.0, gt=0, description="The maximum cost that the server's planner may estimate."
    )
    timeout: Duration = Field(default=5.0, description="How long a query may take.")
    keep: Pause = Field(
        default=0.0, description="How long rows are cached; with 0s every question queries the database."
    )
    labels: tuple[Label, ...] = Field(default=(), description="Only apps with one of these labels may query it.")

    @model_validator(mode="after")
    def _one_of_both(self) -> SqlConfig:
        if (self.database is None) == (not self.files):
            raise wrong("set either database or files", "set one of the two")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The database drivers and the SQL parser."""
        yield ("kind",), "tables"

    @property
    def where(self) -> str:
        """See `SourceConfig.where`."""
        return "rows"

    def open(self, name: str, parts: SourceParts) -> TableSource:
        """See `LiveSourceConfig.open`."""
        from rag.tables.prover import Prover
        from rag.tables.source import TableSource

        return TableSource(
            name,
            self._engine(parts),
            self.model,
            self.tables,
            hint=self.hint,
            timeout_s=self.timeout,
            max_rows=self.max_rows,
            labels=frozenset(self.labels),
            keep_s=self.keep,
            prover=Prover(parts.pool),
        )

    def _engine(self, parts: SourceParts) -> TableEngine:
        from rag.tables.engines import FilesEngine, SqliteEngine

        if self.database is None:
            return FilesEngine(self.files, parts.pool, self.tables)
        url = self.database.reveal()
        if url.startswith("sqlite:///"):
            return SqliteEngine((parts.folder / url.removeprefix("sqlite:///")).resolve(), parts.pool)
        if url.startswith("mysql://"):
            from rag.tables.mysql import MysqlEngine

            return MysqlEngine(url, self.max_cost, parts.pool)
        from rag.tables.postgres import PostgresEngine

        return PostgresEngine(url, self.max_cost)
