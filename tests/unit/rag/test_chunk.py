from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.chunk import Block, Chunk, chunk, markdown_blocks, plain_blocks
from rag.html_text import html_blocks

LINES = st.one_of(
    st.sampled_from(["", "", "# One", "## Two", "### Three ##", "#", "```", "~~~~", "| a | b |", "- item", "#nothing"]),
    st.text(max_size=30),
    st.text(alphabet="ab .?!", max_size=200),
)
DOCUMENTS = st.lists(LINES, max_size=25).map("\n".join)


def squeeze(text: str) -> str:
    return "".join(text.split())


def check(text: str, blocks: list[Block], max_chars: int) -> list[Chunk]:
    """No word is lost or told twice, places are right, no chunk is too long."""
    chunks = chunk(text, blocks, max_chars)
    end = 0
    for piece in chunks:
        assert text[piece.start : piece.start + len(piece.text)] == piece.text
        assert piece.text.strip()
        assert len(piece.text) <= max_chars
        assert piece.start >= end
        assert piece.line == text.count("\n", 0, piece.start) + 1
        end = piece.start + len(piece.text)
    covered = [(piece.start, piece.start + len(piece.text)) for piece in chunks]
    headings = [(block.start, block.end) for block in blocks if block.level]
    spans = sorted({*covered, *headings})
    assert squeeze("".join(text[start:stop] for start, stop in spans if not _inside(start, stop, covered))) == squeeze(
        text
    )
    return chunks


def _inside(start: int, stop: int, spans: list[tuple[int, int]]) -> bool:
    """A heading that is a chunk itself is cut in several where it is long."""
    return any(a <= start and stop <= b and (a, b) != (start, stop) for a, b in spans) or (
        (start, stop) not in spans and any(start <= a and b <= stop for a, b in spans)
    )


@given(DOCUMENTS, st.integers(5, 300))
def test_markdown_loses_nothing(text: str, max_chars: int) -> None:
    check(text, markdown_blocks(text), max_chars)


@given(DOCUMENTS, st.integers(5, 300))
def test_plain_text_loses_nothing(text: str, max_chars: int) -> None:
    chunks = check(text, plain_blocks(text), max_chars)
    assert squeeze("".join(piece.text for piece in chunks)) == squeeze(text)


@given(DOCUMENTS)
def test_every_heading_is_found_by(text: str) -> None:
    blocks = markdown_blocks(text)
    paths = {title for piece in chunk(text, blocks) for title in piece.headings}
    assert {block.title for block in blocks if block.title} == paths


def test_places() -> None:
    text = "# A300\n\nIntro.\n\n## Speed\n\nFast.\n\n```\n# no heading\n```\n\n# Next\n\n## Empty\n"
    found = [(piece.place, piece.text) for piece in chunk(text, markdown_blocks(text))]
    assert found == [
        ("A300, line 3", "Intro."),
        ("A300 > Speed, line 7", "Fast.\n\n```\n# no heading\n```"),
        ("Next > Empty, line 15", "## Empty"),
    ]


def test_long_paragraphs_are_cut_between_sentences() -> None:
    text = "One sentence is here. " * 100
    chunks = check(text, plain_blocks(text), 200)
    assert all(piece.text.rstrip().endswith(".") for piece in chunks)


def test_html() -> None:
    page = (
        "<html><head><title>x</title><style>p {}</style></head>\n<body><h1>Printers &amp; more</h1>\n<p>The "
        "<b>A300</b>\nis fast.</p><script>alert('no')</script>\n"
        "<ul><li>one<li>two</ul><table><tr><td>a</td><td>b</td></tr></table>"
    )
    text, blocks = html_blocks(page)
    assert [(block.level, text[block.start : block.end], block.line) for block in blocks] == [
        (1, "Printers & more", 2),
        (0, "The A300 is fast.", 3),
        (0, "one", 5),
        (0, "two", 5),
        (0, "a; b", 5),
    ]
    assert chunk(text, blocks)[0].place == "Printers & more, line 3"


@given(st.text(alphabet=st.sampled_from("<>/!-&;abp h1\"'=\n")))
def test_html_of_any_shape_is_read(markup: str) -> None:
    text, blocks = html_blocks(markup)
    assert [text[block.start : block.end] for block in blocks] == (text.split("\n\n") if text else [])
