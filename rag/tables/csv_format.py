"""Detects a CSV file's encoding, delimiter and header, and rewrites the file in one plain format."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rag.alphabets import guess
from rag.encodings import encoding_of_start

DELIMITERS = ",;\t|"
SAMPLE_ROWS = 200
MAX_COLUMNS = 1_000
_SAMPLE_CHARACTERS = 200_000
_ENCODING_SAMPLE_BYTES = 16_000_000
_DATA = re.compile(r"[-+(]?\s*[$€£]?\s*\d[\d.,' \u00a0]*\s*[%$€£]?\)?-?|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}.*")
_YEAR = re.compile(r"(?:19|20)\d\d")
_MAX_TITLES = 5


class CsvFormat(NamedTuple):
    """How to read a file; `skip` rows come before the first data row."""

    encoding: str
    delimiter: str
    skip: int
    names: tuple[str, ...]


def detect_format(path: Path) -> CsvFormat:
    """Detects a file's format. Raises `ValueError` for a file that is no table."""
    csv.field_size_limit(2**31 - 1)
    encoding = _encoding(path)
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        text = file.read(_SAMPLE_CHARACTERS)
        is_complete = not file.read(1)
    if "\x00" in text:
        raise ValueError("it contains binary data")
    delimiter, rows = split_rows(text, is_complete=is_complete)
    if not rows:
        raise ValueError("it has no rows")
    titles = _titles(rows)
    rows = rows[titles:]
    width = _width(path, encoding, delimiter)
    if width > MAX_COLUMNS:
        raise ValueError(f"it has {width} columns; the limit is {MAX_COLUMNS}")
    has_header = _has_header(rows)
    header = rows[0] if has_header else []
    return CsvFormat(encoding, delimiter, titles + has_header, _names(header, width))


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        if encoding := encoding_of_start(file.read(4096)):
            return encoding
    try:
        with path.open(encoding="utf-8", newline="") as file:
            while file.read(1_000_000):
                pass
    except UnicodeDecodeError:
        with path.open("rb") as file:
            return guess(file.read(_ENCODING_SAMPLE_BYTES))
    return "utf-8"


def split_rows(text: str, *, is_complete: bool) -> tuple[str, list[list[str]]]:
    """Finds the delimiter that gives the most rows the same number of cells (more than one), else a comma."""
    best: tuple[float, int, str, list[list[str]]] | None = None
    for delimiter in DELIMITERS:
        rows = [
            row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if any(map(str.strip, row))
        ]
        # The last row of a sample may be cut off.
        rows = (rows if is_complete or len(rows) < 2 else rows[:-1])[:SAMPLE_ROWS]
        widths = [len(row) for row in rows]
        common = max(set(widths), key=lambda width: (widths.count(width), width)) if widths else 1
        share = widths.count(common) / len(widths) if common > 1 else 0.0
        if best is None or (round(share, 1), common) > best[:2]:
            best = round(share, 1), common, delimiter, rows
    assert best is not None
    return best[2], best[3]


def _titles(rows: Sequence[Sequence[str]]) -> int:
    """The number of top rows with a single cell in a wider table: a title, a date, a note."""
    titles = 0
    for row, after in pairwise(rows):
        if titles >= _MAX_TITLES or _filled(row) > 1 or _filled(max(rows, key=_filled)) < 2:
            break
        if len(row) > 1 and _filled(after) == 1 and _filled(row) == 0:
            break
        titles += 1
    # A single name above numbers is the header.
    return titles if titles < len(rows) and _filled(rows[titles]) > 1 and _has_header(rows[titles:]) else 0


def _filled(row: Sequence[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row is a header: it is not if it looks like the data below it.

    It looks like data if each column of numbers or dates has one in the first row too; years alone may be names.
    """
    first = [cell.strip() for cell in rows[0]]
    if len(rows) == 1:
        return not any(_DATA.fullmatch(cell) for cell in first)
    typed = []
    for at, cell in enumerate(first):
        below = [row[at].strip() for row in rows[1:] if at < len(row) and row[at].strip()]
        if below and sum(1 for each in below if _DATA.fullmatch(each)) >= 0.9 * len(below):
            typed.append(cell)
    if not typed:
        return True
    if len(set(typed)) == len(typed) and all(_YEAR.fullmatch(cell) for cell in typed) and len(typed) > 1:
        return True
    return not all(not cell or _DATA.fullmatch(cell) for cell in typed)


def _width(path: Path, encoding: str, delimiter: str) -> int:
    return max((len(row) for row in _rows(path, encoding, delimiter)), default=1)


def _rows(path: Path, encoding: str, delimiter: str) -> Iterator[list[str]]:
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        for row in csv.reader((line.replace("\x00", "") for line in file), delimiter=delimiter):
            if any(cell and not cell.isspace() for cell in row):
                yield row


def _names(header: Sequence[str], width: int) -> tuple[str, ...]:
    """Unique column names, ignoring case: `name`, `name_2`; columns without a name are numbered."""
    names: list[str] = []
    taken: set[str] = {" ".join(cell.split()).lower() for cell in header}
    seen: set[str] = set()
    for at in range(width):
        wanted = " ".join(header[at].split()) if at < len(header) else ""
        name, number = wanted or f"column{at + 1}", 2
        while name.lower() in seen or (not wanted and name.lower() in taken) or (number > 2 and name.lower() in taken):
            name, number = f"{wanted or f'column{at + 1}'}_{number}", number + 1
        seen.add(name.lower())
        names.append(name)
    return tuple(names)


def write_plain(path: Path, csv_format: CsvFormat, into: Path) -> int:
    """Writes the data rows in UTF-8, with quoted cells and rows of equal length; returns a limit of a row's bytes."""
    width, longest = len(csv_format.names), 1 << 20
    with into.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for number, row in enumerate(_rows(path, csv_format.encoding, csv_format.delimiter)):
            if number < csv_format.skip:
                continue
            cells = [cell.strip().replace("\r\n", "\n").replace("\r", "\n") for cell in row] + [""] * (width - len(row))
            longest = max(longest, sum(map(len, cells)) * 4 + 3 * width)
            writer.writerow(cells)
    return longest
