"""CSV and Parquet files as tables: their form is found, numbers are numbers, what could be two stays text."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.tables.csv_format import detect_format, write_plain
from rag.tables.csv_types import column_types
from rag.tables.engines import EngineRefused, FilesEngine, Rows
from rag.tables.rows import Column

TRUE = "A table from a file has the columns, numbers and dates of that file"


def _tables(folder: Path, files: dict[str, bytes]) -> tuple[dict[str, list[Column]], dict[str, Rows]]:
    """The tables of the files, by one engine, and all their rows."""

    async def run() -> tuple[dict[str, list[Column]], dict[str, Rows]]:
        for name, content in files.items():
            (folder / f"{name}.csv").write_bytes(content)
        engine = FilesEngine({name: folder / f"{name}.csv" for name in files})
        await engine.open()
        rows = {name: await engine.run(f'SELECT * FROM "{name}"', 10.0, 10) for name in files}
        tables = await engine.tables({})
        await engine.close()
        return tables, rows

    return asyncio.run(run())


FORMS: dict[str, tuple[bytes, list[str], list[tuple[object, ...]]]] = {
    "named_like_nothing": (b"column1,name\n1,x\n2,y\n", ["column1", "name"], [(1, "x"), (2, "y")]),
    "all_texts": (b"column0,column1\na,x\nb,y\n", ["column0", "column1"], [("a", "x"), ("b", "y")]),
    "title": (b"Sales 2024,,\n,,\nregion,amount,n\nnorth,5,1\n", ["region", "amount", "n"], [("north", 5, 1)]),
    "short_title": (b"Sales 2024\nregion,amount\nnorth,5\n", ["region", "amount"], [("north", 5)]),
    "two_titles": (b"Sales\nof 2024\na;b\nx;1\ny;2\n", ["a", "b"], [("x", 1), ("y", 2)]),
    "no_header": (b"1,2\n3,4\n", ["column1", "column2"], [(1, 2), (3, 4)]),
    "no_header_but_texts": (b"north,5\nsouth,7\n", ["column1", "column2"], [("north", 5), ("south", 7)]),
    "years": (b"region,2023,2024\nnorth,5,7\n", ["region", "2023", "2024"], [("north", 5, 7)]),
    "one_column": (b"only\n5\n7\n", ["only"], [(5,), (7,)]),
    "header_only": (b"a,b\n", ["a", "b"], []),
    "no_names": (b"a,,\n1,2,3\n", ["a", "column2", "column3"], [(1, 2, 3)]),
    "same_names": (b"a,A,a,a_2\n1,2,3,4\n", ["a", "A_3", "a_4", "a_2"], [(1, 2, 3, 4)]),
    "ragged": (b"a,b\n1\n2,3,4\n", ["a", "b", "column3"], [(1, None, None), (2, 3, 4)]),
    "empty_lines": (b"a,b\n\n1,2\n,\n\n3,4\n", ["a", "b"], [(1, 2), (3, 4)]),
    "semicolons": (b"a;b\nx,y;2\nz;3\n", ["a", "b"], [("x,y", 2), ("z", 3)]),
    "tabs": (b"a\tb\nx, y\t2\n", ["a", "b"], [("x, y", 2)]),
    "bars": (b"a|b\nx|2\n", ["a", "b"], [("x", 2)]),
    "new_lines": (b'a,b\n"x\ny",2\n"z, ""q""",3\n', ["a", "b"], [("x\ny", 2), ('z, "q"', 3)]),
    "carriage_returns": (b'a,b\r\n"x\r\ny",2\r\n', ["a", "b"], [("x\ny", 2)]),
    "byte_order_mark": (b"\xef\xbb\xbfa,b\n1,2\n", ["a", "b"], [(1, 2)]),
    "utf_16": ("a;b\n\u00e4;2\n".encode("utf-16"), ["a", "b"], [("\u00e4", 2)]),
    "utf_16_without_a_mark": ("a;b\nx;2\n".encode("utf-16-be"), ["a", "b"], [("x", 2)]),
    "latin": ("stra\u00dfe;b\n\u00fcber;2\n".encode("cp1252"), ["stra\u00dfe", "b"], [("\u00fcber", 2)]),
    "quotes_in_names": (b'"a ""b""",c\n1,2\n', ['a "b"', "c"], [(1, 2)]),
    "spaces": (b" a , b \n 1 , x \n", ["a", "b"], [(1, "x")]),
}


@pytest.mark.guarantee("files", TRUE)
@pytest.mark.slow
def test_the_form_of_a_file_is_found(tmp_path: Path) -> None:
    tables, rows = _tables(tmp_path, {name: content for name, (content, _, _) in FORMS.items()})
    for name, (_, columns, wanted) in FORMS.items():
        assert ([column.name for column in tables[name]], list(rows[name].rows)) == (columns, wanted), name


# The values of a column, its type, and what they become; the file is one with commas unless it says otherwise.
NUMBERS: list[tuple[list[str], str, list[object]]] = [
    (["1.234,50", "7,5"], "DOUBLE", [1234.5, 7.5]),
    (["1.234,50", "12"], "DOUBLE", [1234.5, 12.0]),
    (["1.234.567,5", "1.234"], "DOUBLE", [1234567.5, 1234.0]),
    (["1 234,50", "2 000"], "DOUBLE", [1234.5, 2000.0]),
    (["1\u00a0234,50", "2\u202f000,1"], "DOUBLE", [1234.5, 2000.1]),
    (["1'234.50", "12"], "DOUBLE", [1234.5, 12.0]),
    (["1\u2019234.50", "12.5"], "DOUBLE", [1234.5, 12.5]),
    (["1,234.50", "7"], "DOUBLE", [1234.5, 7.0]),
    (["1,234,567", "7"], "DOUBLE", [1234567.0, 7.0]),
    (["12 %", "7.5%"], "DOUBLE in %", [12.0, 7.5]),
    (["\u20ac 12,50", "\u20ac 1.000,00"], "DOUBLE in \u20ac", [12.5, 1000.0]),
    (["12,50 \u20ac", "-3,1 \u20ac"], "DOUBLE in \u20ac", [12.5, -3.1]),
    (["$1,234.50", "-$7.00"], "DOUBLE in $", [1234.5, -7.0]),
    (["EUR 12.50", "EUR 1.25"], "DOUBLE in EUR", [12.5, 1.25]),
    (["CHF 1'000.50", "CHF 2"], "DOUBLE in CHF", [1000.5, 2.0]),
    (["(1.234,50)", "7,5"], "DOUBLE", [-1234.5, 7.5]),
    (["($12.00)", "$7.5"], "DOUBLE in $", [-12.0, 7.5]),
    (["12,5-", "7,5"], "DOUBLE", [-12.5, 7.5]),
    (["12-", "7"], "DOUBLE", [-12.0, 7.0]),
    (["\u22125.5", "+3"], "DOUBLE", [-5.5, 3.0]),
    (["0.125", "1.234"], "DOUBLE", [0.125, 1.234]),
    (["0,125", "1,234"], "DOUBLE", [0.125, 1.234]),
    (["1e-3", "2.5E+2"], "DOUBLE", [0.001, 250.0]),
    (["1", "-2", "0"], "BIGINT", [1, -2, 0]),
    (
        ["99999999999999999998", "99999999999999999999"],
        "DECIMAL(38,0)",
        ["99999999999999999998", "99999999999999999999"],
    ),
    (["-12345678901234567890", "0"], "DECIMAL(38,0)", ["-12345678901234567890", "0"]),
    (["9" * 39, "1"], "DOUBLE", [1e39, 1.0]),
    # One reading of several, so none.
    (["1,234", "5,678"], "VARCHAR", ["1,234", "5,678"]),
    (["1.234", "5,678"], "VARCHAR", ["1.234", "5,678"]),
    (["1.5", "2,5"], "VARCHAR", ["1.5", "2,5"]),
    (["12 \u20ac", "7 $"], "VARCHAR", ["12 \u20ac", "7 $"]),
    (["12 %", "7"], "VARCHAR", ["12 %", "7"]),
    (["01234", "10115"], "VARCHAR", ["01234", "10115"]),
    (["1.2.3", "1.2.4"], "VARCHAR", ["1.2.3", "1.2.4"]),
    (["12,34,5", "1"], "VARCHAR", ["12,34,5", "1"]),
    (["030 123456", "030 654321"], "VARCHAR", ["030 123456", "030 654321"]),
    (["1.5", "n/a"], "VARCHAR", ["1.5", "n/a"]),
    (["192.168.0.1", "10.0.0.1"], "VARCHAR", ["192.168.0.1", "10.0.0.1"]),
    # Dates.
    (["2024-01-31", "2024-02-01"], "DATE", ["2024-01-31", "2024-02-01"]),
    (["31.01.2024", "1.2.2024"], "DATE", ["2024-01-31", "2024-02-01"]),
    (["31.01.2024 10:30", "01.02.2024 11:00:05"], "TIMESTAMP", ["2024-01-31 10:30:00", "2024-02-01 11:00:05"]),
    (["31/01/2024", "01/02/2024"], "DATE", ["2024-01-31", "2024-02-01"]),
    (["01/31/2024", "02/01/2024"], "DATE", ["2024-01-31", "2024-02-01"]),
    (["03/04/2024", "05/06/2024"], "VARCHAR", ["03/04/2024", "05/06/2024"]),
    (
        ["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00"],
        "TIMESTAMP",
        ["2024-01-31 10:00:00", "2024-01-31 08:00:00"],
    ),
    (["true", "False"], "BOOLEAN", [True, False]),
]


@pytest.mark.guarantee("files", TRUE)
@pytest.mark.slow
def test_the_types_of_columns_are_found(tmp_path: Path) -> None:
    files = {
        f"t{at}": ("key,value\n" + "".join(f'k,"{value}"\n' for value in values)).encode()
        for at, (values, _, _) in enumerate(NUMBERS)
    }
    tables, rows = _tables(tmp_path, files)
    for at, (values, kind, wanted) in enumerate(NUMBERS):
        found = tables[f"t{at}"][1].kind, [row[1] for row in rows[f"t{at}"].rows]
        assert found == (kind, wanted), values


@pytest.mark.guarantee("files", TRUE)
def test_what_could_be_a_thousand_or_a_decimal_is_decided_by_the_file(tmp_path: Path) -> None:
    tables, _ = _tables(
        tmp_path,
        {
            "commas": b"a;b\n1.234;2,5\n",
            "points": b"a,b\n1.234,2.5\n",
            "lists": b"a;b\n1.234;x\n",
        },
    )
    assert {name: columns[0].kind for name, columns in tables.items()} == {
        "commas": "VARCHAR",
        "points": "DOUBLE",
        "lists": "VARCHAR",
    }


def _read_back(texts: list[str], delimiter: str = ",") -> tuple[str, list[Any]]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE texts (c0 VARCHAR)")
        connection.executemany("INSERT INTO texts VALUES (?)", [[text] for text in texts])
        (kind,) = column_types(connection, "texts", 1, delimiter)
        return kind.name, [row[0] for row in connection.execute(f"SELECT {kind.read('c0')} FROM texts").fetchall()]


@pytest.mark.guarantee("files", TRUE)
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-99_999_999, 99_999_999), min_size=1, max_size=5),
    st.sampled_from([(",", "."), (".", ","), (" ", ","), (" ", "."), ("'", "."), ("", ","), ("", ".")]),
    st.sampled_from(["{}", "{} \u20ac", "$ {}", "{}%", "EUR {}"]),
)
@pytest.mark.slow
def test_written_numbers_are_read_as_they_were_meant(cents: list[int], signs: tuple[str, str], around: str) -> None:
    groups, decimal = signs
    texts = []
    for each in cents:
        whole = f"{abs(each) // 100:,}".replace(",", groups)
        texts.append(("-" if each < 0 else "") + around.format(f"{whole}{decimal}{abs(each) % 100:02}"))
    kind, values = _read_back(texts)
    assert kind == "DOUBLE"
    assert values == pytest.approx([each / 100 for each in cents])


@pytest.mark.guarantee("files", TRUE)
@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["1", "123", "1.2", "1.234", "1,234", "1,5", "1.234,5", "1,234.5", "-3", "5 %", "\u20ac 7", "x", "01"]
        ),
        min_size=1,
        max_size=4,
    )
)
@pytest.mark.slow
def test_a_column_is_read_whole_or_left_as_it_is(texts: list[str]) -> None:
    kind, values = _read_back(texts)
    if kind == "VARCHAR":
        assert values == texts
    else:
        assert None not in values


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=2, max_size=4), min_size=2))
def test_any_cells_are_read_without_loss(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    import csv

    folder = tmp_path_factory.mktemp("csv")
    with (folder / "a.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["first name", "second name"], *rows])
    form = detect_format(folder / "a.csv")
    assert len({name.lower() for name in form.names}) == len(form.names)
    write_plain(folder / "a.csv", form, folder / "b.csv")
    with (folder / "b.csv").open(encoding="utf-8", newline="") as file:
        assert all(len(row) == len(form.names) for row in csv.reader(file))


@pytest.mark.guarantee("files", TRUE)
def test_moments_in_a_time_zone_need_no_other_package(tmp_path: Path) -> None:
    assert "pytz" not in sys.modules
    path = tmp_path / "events.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT TIMESTAMPTZ '2024-01-31 10:00:00+02' AS at, [TIMESTAMPTZ '2024-01-31 10:00:00+02'] AS list, "
            "TIME '10:00' AS clock, DATE '2024-01-31' AS day, 12.50::DECIMAL(9,2) AS price) "
            f"TO '{path}' (FORMAT parquet)"
        )

    async def run() -> None:
        engine = FilesEngine({"events": path})
        await engine.open()
        columns = (await engine.tables({}))["events"]
        assert columns[0] == Column("at", "TIMESTAMP in UTC", ("2024-01-31 08:00:00",))
        rows = await engine.run("SELECT * FROM events", 5.0, 5)
        assert rows.rows[0][0] == "2024-01-31 08:00:00"
        assert "2024-01-31 08:00:00" in str(rows.rows[0][1])
        assert rows.rows[0][2:] == ("10:00:00", "2024-01-31", "12.50")
        assert (await engine.run("SELECT current_timestamp", 5.0, 5)).rows
        await engine.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"PK\x03\x04\x00\x00\x08\x00binary", b"," * 2000 + b"\n" + b"1," * 2000]
)
def test_what_is_no_table_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(EngineRefused, match=r"odd\.csv can't be read"):
        asyncio.run(FilesEngine({"odd": tmp_path / "odd.csv"}).open())


def test_a_large_cell_is_read_and_cut_where_it_is_shown(tmp_path: Path) -> None:
    _, rows = _tables(tmp_path, {"big": b"id,text\n1," + b"x" * 3_000_000 + b"\n2,wombat\n"})
    assert rows["big"].cut == 1
    assert rows["big"].rows[1] == (2, "wombat")


@pytest.mark.guarantee("sql", "A file source does not load columns that it does not allow")
def test_columns_that_may_not_be_read_are_not_even_loaded(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("region,card\nnorth,CANARY-4111\n")

    async def run() -> None:
        engine = FilesEngine({"orders": path}, wanted={"orders": ["region"]})
        await engine.open()
        assert [column.name for column in (await engine.tables({"orders": ["region"]}))["orders"]] == ["region"]
        assert (await engine.run("SELECT * FROM orders", 5.0, 5)).rows == (("north",),)
        path.write_text("region,card\nsouth,CANARY-4111\n")
        assert (await engine.run("SELECT o FROM orders o", 5.0, 5)).rows == (("{'region': south}",),)
        await engine.close()

    asyncio.run(run())


@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "cp932", "gb18030", "utf-16"])
def test_files_of_any_encoding_are_tables(tmp_path: Path, encoding: str) -> None:
    words = {"cp932": "ポンプの保証期間", "gb18030": "水泵的保修期为两年"}.get(encoding, "Гарантия на насос")
    path = tmp_path / "a.csv"
    path.write_bytes(f"item;price\n{words};7\n{words};8\n".encode(encoding))
    form = detect_format(path)
    write_plain(path, form, tmp_path / "b.csv")
    assert form.names == ("item", "price")
    assert words in (tmp_path / "b.csv").read_text()
