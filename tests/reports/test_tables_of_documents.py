"""Public reports about tables in documents: names that are none, titles and merged cells, values as they look."""

from __future__ import annotations

import datetime
import io
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.comments import Comment  # type: ignore[import-untyped]

from rag.documents.cell_formats import format_number
from tests.reports.files import grid, packed, said, sheet

NAMED = "The first row of a table is its header only if it reads like names; a single row is text"
LOOKS = "Cell values are read as the sheet displays them: percentages, currencies, dates, leading zeros"


def separated(*rows: list[Any]) -> bytes:
    return "\n".join(";".join(map(str, row)) for row in rows).encode()


FORMATS = {"a.csv": separated, "a.xlsx": sheet, "a.docx": grid}


@pytest.mark.report("documents", NAMED)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([["Call 555-0100 first"]], ["Call 555-0100 first"]),
        ([["Emergency", "555-0100"]], ["Emergency; 555-0100"]),
        ([["Owner", "Alice"], ["Deadline", "3 May"]], ["Owner: Alice", "Deadline: 3 May"]),
        ([["Budget", "300"], ["Owner", "Alice"]], ["Budget: 300", "Owner: Alice"]),
        ([["Nadir", "Alice"], ["Zenith", "Bob"]], ["Nadir: Alice", "Zenith: Bob"]),
        ([["Owner", "Alice", "Phone", "555-0100"], ["Site", "Leeds", "Email", "a@b.example"]],
         ["Owner: Alice; Phone: 555-0100", "Site: Leeds; Email: a@b.example"]),
        ([["Owner:", "Alice"], ["Since:", "May"], ["Kind:", "Pump"]], ["Owner: Alice", "Since: May", "Kind: Pump"]),
        ([["Part", "Price"], ["Valve", "9 EUR"]], ["Part: Valve; Price: 9 EUR"]),
        ([["x", "y"], ["1", "2"]], ["x: 1; y: 2"]),
        ([["Alice", "Leeds", "7"], ["Bob", "York", "9"]], ["Alice; Leeds; 7", "Bob; York; 9"]),
        ([["North", "Pump", "new"], ["North", "Valve", "old"], ["South", "Hose", "old"]],
         ["North; Pump; new", "North; Valve; old", "South; Hose; old"]),
        ([["No.", "Paid?", "2024/25"], ["1", "yes", "7"], ["2", "no", "8"]],
         ["No.: 1; Paid?: yes; 2024/25: 7", "No.: 2; Paid?: no; 2024/25: 8"]),
        ([["How long is it under warranty?", "Two years."], ["Who pays?", "We do."]],
         ["How long is it under warranty?; Two years.", "Who pays?; We do."]),
        ([["Unit", "2024", "2025"], ["A", "1", "2"]], ["Unit: A; 2024: 1; 2025: 2"]),
        ([["2024-01-01", "7"], ["2024-01-02", "8"]], ["2024-01-01; 7", "2024-01-02; 8"]),
    ],
)  # fmt: skip
def test_names_are_taken_only_where_they_are(name: str, rows: list[list[str]], says: list[str]) -> None:
    found = said(name, FORMATS[name](*rows))
    assert (found[1:] if name == "a.xlsx" else found) == says


@pytest.mark.report(
    "documents",
    "A title above a table and a note below it are text, also between stacked tables, in sheets and CSV files",
)
@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_titles_notes_and_tables_one_below_the_other(name: str) -> None:
    rows: list[list[Any]] = [
        ["Price list"], ["As of May"], ["Item", "Price", "Stock"], ["Pump", 10, 4], ["Valve", 20, 3],
        ["Source: the shop's own figures"], [], ["Name", "City", "Since"], ["Bo", "Leeds", 2019], ["Jo", "York", 2020],
        [], ["Nobody else may order."],
    ]  # fmt: skip
    assert said(name, FORMATS[name](*rows))[name == "a.xlsx" :] == [
        "Price list", "As of May", "Item: Pump; Price: 10; Stock: 4", "Item: Valve; Price: 20; Stock: 3",
        "Source: the shop's own figures", "Name: Bo; City: Leeds; Since: 2019", "Name: Jo; City: York; Since: 2020",
        "Nobody else may order.",
    ]  # fmt: skip


@pytest.mark.report("documents", "A title of several cells above a table is text, in sheets and CSV files")
def test_titles_of_several_cells() -> None:
    rows: list[list[Any]] = [
        ["Prices", "as of May"],
        ["Item", "Price", "Stock", "Site"],
        ["Pump", 1, 4, "York"],
        ["Hose", 2, 5, "York"],
    ]
    for name in ("a.xlsx", "a.csv"):
        assert said(name, FORMATS[name](*rows))[name == "a.xlsx" :] == [
            "Prices; as of May", "Item: Pump; Price: 1; Stock: 4; Site: York",
            "Item: Hose; Price: 2; Stock: 5; Site: York",
        ]  # fmt: skip


@pytest.mark.report(
    "documents", "Side-by-side tables in a sheet are separate tables, and comments and text boxes are read"
)
def test_tables_beside_each_other_and_comments() -> None:
    rows: list[list[Any]] = [["Item", "Qty", None, "Item", "Qty"], ["Pump", 1, None, "Hose", 3], ["Valve", 2]]
    assert said("a.xlsx", sheet(*rows))[1:] == ["Item: Pump; Qty: 1", "Item: Valve; Qty: 2", "Item: Hose; Qty: 3"]
    rows = [["Old", None, None, "New", None], ["Item", "Qty", None, "Part", "Left"], ["Pump", 1, None, "Hose", 3]]
    assert said("a.xlsx", sheet(*rows))[1:] == ["Old", "Item: Pump; Qty: 1", "New", "Part: Hose; Left: 3"]
    spaced = sheet(["Item", "Qty", None, "Seen", "By"], ["Pump", 1, None, "May", "Bo"])
    assert said("a.xlsx", spaced)[1:] == ["Item: Pump; Qty: 1; Seen: May; By: Bo"]

    def comment(book: Any, page: Any) -> None:
        page["A2"].comment = Comment("Only the red one", "Ann")

    found = said("a.xlsx", sheet(["Item", "Qty"], ["Pump", 1], change=comment))
    assert found[1] == "Item: Pump; Qty: 1"
    assert "Comment on A2:" in found[2]
    assert "Only the red one" in found[2]


@pytest.mark.report("documents", "A sheet in the strict variant of the Open XML standard is read")
def test_the_strict_form() -> None:
    with zipfile.ZipFile(io.BytesIO(sheet(["Item", "Qty"], ["quokka", 77]))) as archive:
        files: dict[str, str | bytes] = {
            name: archive.read(name)
            .replace(
                b"http://schemas.openxmlformats.org/spreadsheetml/2006/", b"http://purl.oclc.org/ooxml/spreadsheetml/"
            )
            .replace(
                b"http://schemas.openxmlformats.org/officeDocument/2006/relationships",
                b"http://purl.oclc.org/ooxml/officeDocument/relationships",
            )
            for name in archive.namelist()
        }
    assert said("a.xlsx", packed(files)) == ["Sheet", "Item: quokka; Qty: 77"]


@pytest.mark.report("documents", "A blank row inside a table does not end the scope of its header")
def test_a_blank_row_in_a_table() -> None:
    rows: list[list[Any]] = [["Item", "Price", "Left"], ["Pump", 10, 4], [], ["Valve", 20, 3], ["Hose", 30, 2]]
    assert said("a.xlsx", sheet(*rows))[-1] == "Item: Hose; Price: 30; Left: 2"
    assert said("a.xlsx", sheet([], [None, "Item", None, "Price"], [None, "Pump", None, 10]))[1:] == [
        "Item: Pump; Price: 10"
    ]


@pytest.mark.report(
    "documents", "A merged cell of a sheet applies to each of its rows and columns, and a merged title appears once"
)
def test_merged_cells_of_sheets() -> None:
    def merge(*places: str) -> Any:
        return lambda book, page: [page.merge_cells(each) for each in places]

    assert said("a.xlsx", sheet(["Title"], change=merge("A1:D4")))[1:] == ["Title"]
    rows: list[list[Any]] = [["Prices"], ["Region", "Item", "Price"], ["North", "Pump", 10], [None, "Valve", 20]]
    assert said("a.xlsx", sheet(*rows, change=merge("A1:C1", "A3:A4")))[1:] == [
        "Prices", "Region: North; Item: Pump; Price: 10", "Region: North; Item: Valve; Price: 20",
    ]  # fmt: skip
    rows = [
        ["Region", 2025, None, None],
        [None, "Sales", "Costs", "Net"],
        ["North", 1, 2, 3],
        ["South", "none", None, 4],
    ]
    assert said("a.xlsx", sheet(*rows, change=merge("B1:D1", "A1:A2", "B4:C4")))[1:] == [
        "Region: North; 2025 Sales: 1; 2025 Costs: 2; 2025 Net: 3",
        "Region: South; 2025 Sales: none; 2025 Costs: none; 2025 Net: 4",
    ]


@pytest.mark.report("documents", LOOKS)
def test_values_of_sheets_are_read_as_they_look() -> None:
    cells = {
        "A2": (datetime.datetime(2026, 1, 5), "yyyy-mm-dd"), "B2": (0.15, "0%"), "C2": (1234.5, '#,##0.00\\ "€"'),
        "D2": (123, "00000"), "E2": (True, "General"), "F2": (datetime.datetime(2026, 1, 5, 7, 30), "yyyy-mm-dd h:mm"),
        "G2": (0.1 + 0.2, "General"), "H2": ("#N/A", "General"), "I2": ("=A2*2", "General"),
    }  # fmt: skip

    def fill(book: Any, page: Any) -> None:
        for place, (value, form) in cells.items():
            page[place], page[place].number_format = value, form

    names = ["Day", "Share", "Price", "Code", "Ok", "At", "Sum", "Lost", "Twice"]
    assert said("a.xlsx", sheet(names, change=fill))[1:] == [
        "Day: 2026-01-05; Share: 15%; Price: 1,234.50 €; Code: 00123; Ok: TRUE; At: 2026-01-05 07:30; Sum: 0.3; "
        "Lost: #N/A; Twice: =A2*2"
    ]


@pytest.mark.report("documents", LOOKS)
@pytest.mark.parametrize(
    ("value", "form", "looks"),
    [
        (1234.5, "#,##0.00 [$€-407]", "1,234.50 €"), (-5, "0;(0)", "(5)"), (12000, '0,"k"', "12k"),
        (0.125, "0.0%", "12.5%"), (-2, "#,##0.00;[Red]-#,##0.00", "-2.00"), (3, "0.##", "3"), (0, "#", "0"),
        (2.5, '_-* #,##0.00\\ "€"_-', "2.50 €"), (1e20, "0", "100000000000000000000"), (7, "General", "7"),
        (2.0, "General", "2"), (0.5, "# ?/?", "0.5"), (12345, "0.00E+00", "12345"), (5, "@", "5"),
    ],
)  # fmt: skip
def test_formats_of_numbers(value: float, form: str, looks: str) -> None:
    assert format_number(value, form) == looks


@given(st.floats() | st.integers(), st.text('0#?.,;%"[]$€\\_*@E+/ -', max_size=30))
def test_any_format_gives_a_text(value: float, form: str) -> None:
    assert isinstance(format_number(value, form), str)


@pytest.mark.report("documents", "A sheet that declares a wrong size is read completely")
@pytest.mark.parametrize("size", ["A1", "A1:B1", "", "XFD1048576"])
def test_what_a_sheet_says_of_its_size_is_not_believed(size: str) -> None:
    with zipfile.ZipFile(io.BytesIO(sheet(["Item", "Qty"], ["quokka", 77]))) as archive:
        files: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    page = files["xl/worksheets/sheet1.xml"]
    assert isinstance(page, bytes)
    files["xl/worksheets/sheet1.xml"] = page.replace(b'ref="A1:B2"', f'ref="{size}"'.encode())
    assert said("a.xlsx", packed(files)) == ["Sheet", "Item: quokka; Qty: 77"]


@pytest.mark.report("documents", "A very long cell is read, and so are the rows after it")
def test_long_cells() -> None:
    found = said("a.csv", b"id,text\n1," + b"word " * 40_000 + b"\n2,wombat\n")
    assert found[-1] == "id: 2; text: wombat"
    long = " ".join(f"word{at}" for at in range(900))
    assert long in said("a.csv", f"id,answer\n7,{long}\n".encode())[0]


@pytest.mark.report("documents", "The line that Excel writes at the top of a CSV file (`sep=;`) is not a row")
def test_the_line_that_names_the_separator() -> None:
    assert said("a.csv", b"sep=|\r\nItem|Price\r\nPump|7\r\n") == ["Item: Pump; Price: 7"]
