"""The pages hang together: every link leads somewhere, every block is of a kind that a test reads, the site builds."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import DOCS, PAGES, ROOT, anchors, blocks, links, prose

# Which tests read a block of that kind; one of another kind would be read by none.
READ_BY = {
    "yaml": "tests/integration/test_docs.py",
    "sh": "tests/integration/test_docs_commands.py",
    "console": "tests/integration/test_docs_commands.py",
    "json": "tests/integration/test_docs_commands.py",
    "text": "tests/integration/test_docs_commands.py",
    "toml": "tests/integration/test_docs_commands.py",
    "sql": "tests/integration/test_docs_commands.py",
    "ini": "tests/integration/test_docs_commands.py",
    "js": "tests/integration/test_docs_commands.py",
    "python": "tests/contract/test_snippets.py",
}
FOLDERS = sorted(each.name for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith("."))
names = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@names
def test_every_block_is_read_by_a_test(page: Path) -> None:
    unread = [f"{each}: ```{each.language}" for each in blocks(page) if each.language not in READ_BY]
    assert not unread, f"say its kind, one of {', '.join(READ_BY)}"
    # What looks like a fence and is none: a block that does not end.
    assert "```" not in prose(page)


def test_those_tests_are_there() -> None:
    assert [each for each in READ_BY.values() if not (ROOT / each).is_file()] == []


@pytest.mark.guarantee("documentation", "Every link in the documentation works, including its anchor")
@names
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
        elif page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
            broken.append(f"{link}, which is no part of the site")
    assert broken == []


@pytest.mark.parametrize("page", [each for each in PAGES if each.name != "CHANGELOG.md"], ids=str)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = re.sub(r"https?://\S+", "", prose(page))
    found = re.findall(rf"(?<![\w./])((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|md|yaml|jsonl|json|svg))", text)
    # extending.md shows how to write these.
    new = re.compile(r"echo|step_0003|wire_NAME")
    assert [each for each in found if not (ROOT / each).exists() and not new.search(each)] == []


@names
def test_lists_and_tables_are_such_on_the_site_too(page: Path) -> None:
    """A code host begins a list or table within a paragraph; the site needs an empty line before it."""
    lines = prose(page).splitlines()
    glued = [
        line
        for before, line in itertools.pairwise(lines)
        if (re.match(r"(?:[-*] |1\. )", line) and before.strip() and not re.match(r"(?:[-*] |\d+\. | {2,})", before))
        or (line.startswith("|") and before.strip() and not before.startswith("|"))
    ]
    assert glued == []


@names
def test_rows_have_the_cells_of_their_table(page: Path) -> None:
    """A bar within code parts cells on a code host."""
    wrong, columns = [], 0
    for line in prose(page).splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        if cells and columns and cells != columns:
            wrong.append(line)
        columns = columns or cells if cells else 0
    assert wrong == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    # A block that the site does not take for one, such as in a list that indents by less than four, shows its fence.
    assert [each.name for each in (tmp_path / "site").rglob("*.html") if "```" in each.read_text()] == []
    pages = [each.read_text() for each in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    # Readers' browsers ask nobody else for fonts, scripts or pictures.
    asked = {
        found
        for page in pages
        for found in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\" >]+)", page)
    }
    assert asked == set()
