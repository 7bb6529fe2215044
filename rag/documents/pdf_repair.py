"""Repairs PDF files whose cross-reference table is missing or wrong: finds the objects and appends a new table."""

from __future__ import annotations

import re
import zlib

_OBJECT = re.compile(rb"(?<!\d)(\d{1,10})[ \t\r\n]{1,4}(\d{1,5})[ \t\r\n]{1,4}obj\b")
_PACKED = re.compile(rb"/Type\s{0,4}/ObjStm\b")
_ROOT = re.compile(rb"/Root\s{1,4}(\d{1,10})\s{1,4}(\d{1,5})\s{1,4}R")
_ENCRYPT = re.compile(rb"/Encrypt\s{1,4}\d{1,10}\s{1,4}\d{1,5}\s{1,4}R")
_ID = re.compile(rb"/ID\s{0,4}\[\s{0,4}<[0-9A-Fa-f]{0,200}>\s{0,4}<[0-9A-Fa-f]{0,200}>\s{0,4}\]")
_CATALOG = re.compile(rb"/Type\s{0,4}/Catalog\b")
_PAGE = re.compile(rb"/Type\s{0,4}/Page\b")
_NUMBER = rb"/%b\s{1,4}(\d{1,7})\b"
_MAX_OBJECTS = 1_000_000
_MAX_UNPACKED = 128 * 1024 * 1024


def repair(data: bytes) -> bytes | None:
    """Returns the file with a new cross-reference table; None if it has no page."""
    places: dict[int, tuple[int, int]] = {}
    bodies: dict[int, bytes] = {}
    added = bytearray(b"\n")
    catalog, pages = 0, []
    matches = list(_OBJECT.finditer(data))[:_MAX_OBJECTS]
    remaining = _MAX_UNPACKED
    for at, match in enumerate(matches):
        until = matches[at + 1].start() if at + 1 < len(matches) else len(data)
        body = data[match.end() : until]
        if b"endobj" not in body:
            # The file ends in the middle of this object.
            continue
        number = int(match[1])
        places[number] = match.start(), int(match[2])
        bodies[number] = head = body[:4000].partition(b"stream")[0]
        if _PACKED.search(head):
            for inner, text in _unpacked(head, body, remaining):
                remaining -= len(text)
                places[inner] = len(data) + len(added), 0
                bodies[inner] = text[:4000]
                added += b"%d 0 obj\n%b\nendobj\n" % (inner, text)
    for number, head in bodies.items():
        catalog = number if _CATALOG.search(head) else catalog
        pages += [number] if _PAGE.search(head) else []
    if not pages:
        return None
    root = _ROOT.findall(data)
    if root and int(root[-1][0]) in places:
        catalog = int(root[-1][0])
    if not catalog:
        catalog = max(places) + 1
        kids = b" ".join(b"%d 0 R" % each for each in sorted(pages))
        places[catalog] = len(data) + len(added), 0
        added += b"%d 0 obj\n<< /Type /Catalog /Pages %d 0 R >>\nendobj\n" % (catalog, catalog + 1)
        places[catalog + 1] = len(data) + len(added), 0
        added += b"%d 0 obj\n<< /Type /Pages /Kids [%b] /Count %d >>\nendobj\n" % (catalog + 1, kids, len(pages))
    return data + bytes(added) + _table(data, places, catalog, len(data) + len(added))


def _table(data: bytes, places: dict[int, tuple[int, int]], catalog: int, start: int) -> bytes:
    lines = [b"xref\n0 1\n0000000000 65535 f \n"]
    lines += [b"%d 1\n%010d %05d n \n" % (number, *places[number]) for number in sorted(places) if number]
    entries = b" ".join(matches[-1] for pattern in (_ENCRYPT, _ID) if (matches := pattern.findall(data)))
    trailer = b"trailer\n<< /Size %d /Root %d 0 R %b >>\nstartxref\n%d\n%%%%EOF\n"
    return b"".join(lines) + trailer % (max(places) + 1, catalog, entries, start)


def _unpacked(head: bytes, body: bytes, max_bytes: int) -> list[tuple[int, bytes]]:
    """The objects of an object stream that is deflated or not compressed."""
    count, first = re.search(_NUMBER % b"N", head), re.search(_NUMBER % b"First", head)
    start = re.search(rb"stream\r?\n", body)
    if count is None or first is None or start is None or max_bytes <= 0:
        return []
    packed = body[start.end() : body.rfind(b"endstream")]
    try:
        text = zlib.decompressobj().decompress(packed, max_bytes) if b"FlateDecode" in head else packed
        numbers = [int(each) for each in text[: int(first[1])].split()[: 2 * int(count[1])]]
    except (zlib.error, ValueError):
        return []
    places = [int(first[1]) + each for each in numbers[1::2]]
    ends = [*places[1:], len(text)]
    return [(number, text[at:end]) for number, at, end in zip(numbers[::2], places, ends, strict=False)]
