"""Public reports about what loaders of Word files leave out, read twice or read though it is deleted."""

from __future__ import annotations

import pytest

from tests.reports.files import paragraph, run, said, word

SEEN = "A Word file is read as its page shows it: content controls, text boxes, notes, inserted text; each once"
_BOX = (
    "<mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wp:anchor><a:graphic><wps:txbx><w:txbxContent>{0}"
    "</w:txbxContent></wps:txbx></a:graphic></wp:anchor></w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox>"
    "<w:txbxContent>{0}</w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent>"
)
_LEVEL = '<w:lvl w:ilvl="{0}"><w:start w:val="1"/><w:numFmt w:val="{1}"/><w:lvlText w:val="{2}"/></w:lvl>'


def item(text: str, level: int = 0, number: int = 1) -> str:
    return paragraph(text, properties=f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>')


@pytest.mark.report("documents", SEEN)
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('In a control')}</w:sdtContent></w:sdt>", ["In a control"]),
        (paragraph("Due ", f"<w:sdt><w:sdtContent>{run('3 May')}</w:sdtContent></w:sdt>"), ["Due 3 May"]),
        (paragraph("Pay ", f"<w:del>{run('90')}<w:r><w:delText>90</w:delText></w:r></w:del>",
                   f"<w:ins>{run('60')}</w:ins>", " EUR"), ["Pay 60 EUR"]),
        (paragraph(f"<w:moveFrom>{run('here')}</w:moveFrom>", f"<w:moveTo>{run('there')}</w:moveTo>"), ["there"]),
        (paragraph("one ", properties="<w:rPr><w:del/></w:rPr>") + paragraph("two"), ["one two"]),
        (paragraph("See ", f"<w:hyperlink>{run('the manual')}</w:hyperlink>"), ["See the manual"]),
        (paragraph(f"<w:smartTag>{run('Leeds')}</w:smartTag>", f"<w:fldSimple w:instr='X'>{run(' 7')}</w:fldSimple>"),
         ["Leeds 7"]),
        (paragraph("Before", f"<w:r>{_BOX.format(paragraph('In the box'))}</w:r>"), ["Before", "In the box"]),
        (paragraph("seen", run("unseen", "<w:vanish/>")), ["seen"]),
        (paragraph("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t></w:r>"), ["a\tb"]),
        (paragraph("<w:r><w:t>ware</w:t><w:softHyphen/><w:t>house x</w:t><w:noBreakHyphen/><w:t>ray</w:t></w:r>"),
         ["warehouse x-ray"]),
        (paragraph("5 ", "<w:r><w:sym w:font='Symbol' w:char='F06D'/></w:r>", "m ",
                   "<w:r><w:sym w:font='Wingdings' w:char='F0FC'/></w:r>"), ["5 μm ✓"]),
        (paragraph("<w:r><w:ruby><w:rt><w:r><w:t>kan</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>漢</w:t></w:r>"
                   "</w:rubyBase></w:ruby></w:r>"), ["漢"]),
        (paragraph("<m:oMath><m:r><m:t>E=mc</m:t></m:r></m:oMath>"), ["E=mc"]),
        (paragraph("<w:r><w:drawing><wp:inline><wp:docPr id='1' name='p' descr='A red valve'/></wp:inline></w:drawing>"
                   "</w:r>"), [" [A red valve] "]),
    ],
)  # fmt: skip
def test_what_the_page_shows_is_read(body: str, says: list[str]) -> None:
    assert said("a.docx", word(body)) == says


@pytest.mark.report("documents", SEEN)
def test_notes_comments_headers_and_footers_are_read_at_their_place() -> None:
    reference = "<w:r><w:{0}Reference w:id='{1}'/></w:r>"
    data = word(
        paragraph("Nine years", reference.format("footnote", 2), " apply.", reference.format("comment", 0))
        + paragraph("The end.", reference.format("endnote", 1)),
        footnotes=f'<w:footnote w:id="2">{paragraph("From delivery on.")}</w:footnote>',
        endnotes=f'<w:endnote w:id="1">{paragraph("As of May.")}</w:endnote>',
        comments=f'<w:comment w:id="0" w:author="Ann">{paragraph("Really?")}</w:comment>',
    )
    assert said("a.docx", data) == [
        "Nine years[1] apply.", "[1] From delivery on.", "Comment by Ann: Really?", "The end.[2]", "[2] As of May.",
    ]  # fmt: skip
    plain = word(paragraph("Text"), header="<w:p><w:r><w:t>Manual 4711</w:t></w:r></w:p>", footer=paragraph("17"))
    assert said("a.docx", plain) == ["Manual 4711", "Text"]


@pytest.mark.report("documents", SEEN)
def test_diagrams_and_charts_are_read_by_their_words() -> None:
    body = paragraph(
        "Steps",
        "<w:r><w:drawing><a:graphicData><x:relIds xmlns:x='urn:x' r:dm='r0'/></a:graphicData></w:drawing></w:r>",
    )
    inner = "<w:pt><w:t><a:p><a:r><a:t>Order</a:t></a:r></a:p></w:t></w:pt><w:pt><w:t><a:t>Pay</a:t></w:t></w:pt>"
    assert said("a.docx", word(body, diagramData=inner)) == ["Steps", "Diagram: Order", "Diagram: Pay"]
    body = paragraph("Sales", "<w:r><w:drawing><x:chart xmlns:x='urn:x' r:id='r0'/></w:drawing></w:r>")
    inner = "<a:t>By region</a:t><w:v>North</w:v><w:v>7</w:v><w:v>North</w:v>"
    assert said("a.docx", word(body, chart=inner)) == ["Sales", "Chart: By region; North; 7"]


@pytest.mark.report("documents", "Numbered lists and headings of a Word file include their numbers")
def test_lists_keep_their_numbers() -> None:
    levels = _LEVEL.format(0, "decimal", "%1.") + _LEVEL.format(1, "lowerLetter", "%1.%2)")
    numbering = (
        f'<w:abstractNum w:abstractNumId="5">{levels}</w:abstractNum><w:abstractNum w:abstractNumId="6">'
        f"{_LEVEL.format(0, 'bullet', '•')}</w:abstractNum>"
        '<w:num w:numId="1"><w:abstractNumId w:val="5"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="6"/></w:num>'
        '<w:num w:numId="3"><w:abstractNumId w:val="5"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/>'
        "</w:lvlOverride></w:num>"
    )
    body = item("Open") + item("Turn", 1) + item("Wait", 1) + item("Close") + item("Point", 0, 2) + item("Anew", 0, 3)
    assert said("a.docx", word(body, numbering=numbering)) == [
        "1. Open", "1.a) Turn", "1.b) Wait", "2. Close", "Point", "1. Anew",
    ]  # fmt: skip


def cell(text: str, properties: str = "", inner: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inner}{paragraph(text) if text else '<w:p/>'}</w:tc>"


def table(*rows: str) -> str:
    return f"<w:tbl><w:tblGrid/>{''.join(f'<w:tr>{row}</w:tr>' for row in rows)}</w:tbl>"


@pytest.mark.report("documents", "Merged and nested cells of a Word table are read with their rows")
def test_merged_deleted_and_nested_cells() -> None:
    span = '<w:gridSpan w:val="2"/>'
    assert said("a.docx", word(table(
        cell("Region", '<w:vMerge w:val="restart"/>') + cell("2025", span),
        cell("", "<w:vMerge/>") + cell("Sales") + cell("Costs"),
        cell("North") + cell("7") + cell("3"),
        f"<w:sdt><w:sdtContent>{cell('South')}</w:sdtContent></w:sdt>" + cell("none", span),
        "<w:trPr><w:del/></w:trPr>" + cell("Gone") + cell("1") + cell("2"),
    ))) == [
        "Region: North; 2025 Sales: 7; 2025 Costs: 3", "Region: South; 2025 Sales: none; 2025 Costs: none",
    ]  # fmt: skip
    inner = table(cell("Part") + cell("Price"), cell("Valve") + cell("9"))
    assert said("a.docx", word(table(cell("Left") + cell("Right", "", inner)))) == [
        "Left", "Part: Valve; Price: 9", "Right",
    ]  # fmt: skip


@pytest.mark.report("documents", "Word templates and files with macros are read like other Word files")
@pytest.mark.parametrize("name", ["a.docm", "a.dotx", "a.dotm", "A.DOCX"])
def test_every_kind_of_word_file(name: str) -> None:
    assert said(name, word(paragraph("Pump"))) == ["Pump"]
