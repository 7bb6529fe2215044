"""Parts of an Excel file other than cells: comments and text boxes. Also converts Strict Open XML files."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from rag.documents.word_parts import attribute, local

_STRICT = b"http://purl.oclc.org/ooxml/"
_NAMESPACES = (
    (b"spreadsheetml/main", b"spreadsheetml/2006/main"),
    (b"officeDocument/relationships", b"officeDocument/2006/relationships"),
    (b"drawingml/main", b"drawingml/2006/main"),
    (b"drawingml/spreadsheetDrawing", b"drawingml/2006/spreadsheetDrawing"),
)
# The notice that Excel puts above a threaded comment.
_THREAD = re.compile(r"\[Threaded comment\].*?(?:Comment|Kommentar|Commentaire|Comentario):", re.DOTALL)


def to_transitional(data: bytes) -> bytes:
    """Converts a Strict Open XML file to the transitional namespaces; returns any other file unchanged."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "xl/workbook.xml" not in names or _STRICT not in archive.read("xl/workbook.xml")[:4000]:
            return data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as changed:
            for name in names:
                part = archive.read(name)
                if name.endswith((".xml", ".rels")):
                    for strict, other in _NAMESPACES:
                        part = part.replace(_STRICT + strict, b"http://schemas.openxmlformats.org/" + other)
                changed.writestr(name, part)
    return out.getvalue()


def sheet_annotations(archive: zipfile.ZipFile, sheet: str) -> Iterator[str]:
    """The comments on a sheet's cells and the text of its text boxes. `sheet` is the part's name."""
    folder, _, file = sheet.rpartition("/")
    relations = posixpath.join(folder, "_rels", f"{file}.rels")
    names = {*archive.namelist()}
    for each in _part(archive, relations) if relations in names else ():
        kind = str(each.get("Type", "")).rpartition("/")[2] if isinstance(each.tag, str) else ""
        target = posixpath.normpath(posixpath.join("/", folder, each.get("Target", ""))).lstrip("/") if kind else ""
        if target not in names:
            continue
        if kind == "comments":
            yield from _comments(_part(archive, target))
        elif kind == "drawing":
            yield from _boxes(_part(archive, target))


def _part(archive: zipfile.ZipFile, name: str) -> Any:
    from lxml import etree  # type: ignore[import-untyped]

    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
    return etree.fromstring(archive.read(name), parser)


def _comments(root: Any) -> Iterator[str]:
    for each in root.iter():
        if local(each) == "comment":
            words = "".join(part.text or "" for part in each.iter() if local(part) == "t")
            thread = _THREAD.match(words)
            words = words[thread.end() :] if thread is not None else words
            if words.strip():
                yield f"Comment on {attribute(each, 'ref') or 'a cell'}: {' '.join(words.split())}"


def _boxes(root: Any) -> Iterator[str]:
    for each in root.iter():
        if local(each) == "txBody":
            words = " ".join(part.text or "" for part in each.iter() if local(part) == "t")
            if words.strip():
                yield " ".join(words.split())
