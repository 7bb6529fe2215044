"""The documentation as tests read it: its pages, their fenced blocks, headings and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# Also what stands beside the documentation: README, CHANGELOG, CONTRIBUTING, SECURITY, where they are there.
PAGES = [
    *sorted(ROOT.glob("*.md")),
    ROOT / "bench/README.md",
    ROOT / "tests/golden/README.md",
    *sorted(DOCS.rglob("*.md")),
]
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^\n`]*)\n(?P<text>.*?)^ *(?P=ticks) *$", re.M | re.S)
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


class Block(msgspec.Struct, frozen=True):
    """One fenced block. `line` is that of its first line; `above` is where the block before it on the page is the
    neighbour, with nothing but blank lines between them.
    """

    page: Path
    line: int
    language: str
    text: str
    above: Block | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """In the order of the page."""
    text = page.read_text()
    before: Block | None = None
    end = 0
    for match in _FENCE.finditer(text):
        neighbour = before if before is not None and not text[end : match.start()].strip() else None
        indent = len(match["indent"])
        lines = [line[indent:] if not line[:indent].strip() else line for line in match["text"].splitlines()]
        body = "\n".join([*lines, ""])
        line = text.count("\n", 0, match.start()) + 2
        before = Block(page, line, match["language"].strip(), body, neighbour)
        end = match.end()
        yield before


def blocks_of(*languages: str) -> list[Block]:
    """Those of all pages in one of `languages`."""
    return [each for page in PAGES for each in blocks(page) if each.language in languages]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Where the page's links lead, as they are written."""
    without_code = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", prose(page), flags=re.S)
    return _LINK.findall(without_code)


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may say, on a code host and on the site alike."""
    headings = re.findall(r"^#{1,6} +(.+?) *#*$", prose(page), re.M)
    return {_on_a_code_host(each) for each in headings} & {_on_the_site(each) for each in headings}


def _on_a_code_host(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", _as_text(heading).lower()).replace(" ", "-")


def _on_the_site(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", _as_text(heading)).strip().lower())


def _as_text(heading: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")


def statements(block: Block) -> list[str]:
    """The commands of a shell block, continued lines joined; of a session (`console`) those behind a prompt."""
    lines = block.text.splitlines()
    if block.language == "console":
        lines = [line.removeprefix("$ ") for line in lines if line.startswith(("$ ", "    "))]
    found: list[str] = []
    open_lines = ""
    for line in lines:
        open_lines += line
        if open_lines.endswith("\\"):
            open_lines = open_lines[:-1] + " "
            continue
        try:
            words = shlex.split(open_lines, comments=True)
        except ValueError:  # a quote goes on in the next line
            open_lines += "\n"
            continue
        if words:
            found.append(open_lines)
        open_lines = ""
    assert not open_lines.strip(), f"{block}: a quote does not end"
    return found


def commands(statement: str) -> list[list[str]]:
    """The words of each command of a statement: those of a pipe, a list or a chain apart, without assignments."""
    statement = re.sub(r"\s\d>&\d", "", re.sub(r"\$\([^()]*\)", "VALUE", statement))
    lexer = shlex.shlex(statement, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    is_file = False
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        elif not is_file and not set(word) <= set("<>"):
            found[-1].append(word)
        is_file = set(word) <= set("<>")
    return [words for each in found if (words := _without_assignments(each))]


def _without_assignments(words: list[str]) -> list[str]:
    while words and re.match(r"\w+=", words[0]):
        words = words[1:]
    return words
