"""CSV files as tables: loaded again when they change, cut off from everything else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from rag.tables.engines import EngineRefused, FilesEngine, QueryFailed


def test_a_changed_file_is_read_again_and_nothing_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("month,total\n2024-01,7\n")

    async def body() -> None:
        engine = FilesEngine({"sales": path})
        await engine.open()
        assert (await engine.run("SELECT sum(total) FROM sales", 2.0, 10)).rows == ((7,),)
        path.write_text("month,total\n2024-01,7\n2024-02,30\n")
        assert (await engine.run("SELECT sum(total) FROM sales", 2.0, 10)).rows == ((37,),)
        # Half written: it is said, and what comes after is read.
        path.write_bytes(b"\xff\xfe\x00" * 100)
        os.utime(path, (1, 1))
        with pytest.raises(QueryFailed):
            await engine.run("SELECT sum(totals) FROM sales", 2.0, 10)
        path.write_text("month,total\n2024-01,5\n")
        assert (await engine.run("SELECT sum(total) FROM sales", 2.0, 10)).rows == ((5,),)
        for sql in (f"SELECT * FROM read_csv_auto('{path}')", "INSTALL httpfs", "SET enable_external_access = true"):
            with pytest.raises(QueryFailed):
                await engine.run(sql, 2.0, 10)
        with pytest.raises(QueryFailed, match="longer than"):
            await engine.run("SELECT count(*) FROM range(100000000000) a", 0.2, 10)
        await engine.close()

    asyncio.run(body())


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineRefused, match="can't be read"):
        asyncio.run(FilesEngine({"x": tmp_path / "missing.parquet"}).open())
