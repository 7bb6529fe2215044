"""Every word of a table, page or Word file is read, however the parts stand; and no word is made up."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rag.documents.markdown import flatten_tables
from rag.documents.naming import Row, detect_layout
from rag.documents.pieces import TextBuilder
from rag.documents.rows import add_rows
from rag.html_text import html_blocks
from tests.reports.files import paragraph, said, word

WORDS = st.sampled_from(
    [
        "",
        "",
        "Name",
        "Price",
        "Owner",
        "Alice",
        "7",
        "9 EUR",
        "2024",
        "2024-01-01",
        "North",
        "a@b.example",
        "x y",
        "Pump.",
        "No",
    ]
)
TABLES = st.lists(st.lists(WORDS, max_size=6), max_size=12)


@given(TABLES, st.booleans())
def test_every_cell_is_said(table: list[list[str]], named: bool) -> None:
    pieces = TextBuilder()
    add_rows(pieces, [Row(at, cells, named=named and at == 1) for at, cells in enumerate(table, 1)])
    text, blocks = pieces.done()
    for cell in {cell for cells in table for cell in cells if cell}:
        assert cell in text, (cell, table)
    assert [text[block.start : block.end] for block in blocks] == (text.split("\n\n") if text else [])


@given(TABLES)
def test_a_form_has_its_rows(table: list[list[str]]) -> None:
    rows = [Row(at, cells) for at, cells in enumerate(table, 1) if any(cells)]
    if rows:
        form = detect_layout(rows)
        assert form.titles + form.header <= len(rows)
        assert not (form.names and form.keys)


PARTS = st.sampled_from([
    "<table>", "</table>", "<tr>", "</tr>", "<td>", "<th>", "</td>", "<td rowspan=2>", "<td colspan=3>", "<thead>",
    "</thead>", "<caption>", "<p>", "</p>", "<div>", "</div>", "<ul>", "<ol>", "<li>", "</ul>", "<dl>", "<dt>",
    "<dd>", "</dl>", "<h2>", "</h2>", "<br>", "<pre>", "</pre>", "<b>", "</b>", "<select>", "<option>", "\n", " ",
])  # fmt: skip


@settings(max_examples=300)
@example(["<dt>", 0, "<dd>"])
@given(st.lists(PARTS | st.integers(0, 99), max_size=40))
def test_every_word_of_a_page_is_said(parts: list[str | int]) -> None:
    page = "".join(f" w{part}w " if isinstance(part, int) else part for part in parts)
    found = set(re.findall(r"w\d+w", html_blocks(page)[0]))
    assert found == {f"w{part}w" for part in parts if isinstance(part, int)}


INSIDE = st.recursive(
    st.integers(0, 99).map(lambda number: paragraph(f"w{number}w")),
    lambda inner: st.one_of(
        inner.map(lambda xml: f"<w:sdt><w:sdtContent>{xml}</w:sdtContent></w:sdt>"),
        st.lists(st.lists(inner, min_size=1, max_size=3), min_size=1, max_size=3).map(
            lambda rows: (
                "<w:tbl>"
                + "".join(f"<w:tr>{''.join(f'<w:tc>{xml}</w:tc>' for xml in row)}</w:tr>" for row in rows)
                + "</w:tbl>"
            )
        ),
        inner.map(lambda xml: f"<w:p><w:r><w:pict><w:txbxContent>{xml}</w:txbxContent></w:pict></w:r></w:p>"),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(INSIDE, max_size=4))
def test_every_word_of_a_word_file_is_said(items: list[str]) -> None:
    body = "".join(items)
    assert set(re.findall(r"w\d+w", " ".join(said("a.docx", word(body))))) == set(re.findall(r"w\d+w", body))


@given(st.lists(st.lists(st.text("ab|`\\ -:", max_size=6), max_size=5).map(" | ".join), max_size=8))
def test_every_letter_of_a_markdown_text_is_said(lines: list[str]) -> None:
    text = "\n".join(lines)
    made = flatten_tables(text)
    assert made.count("\n") == text.count("\n")
    assert set(re.findall(r"[ab]+", text)) == set(re.findall(r"[ab]+", made))
