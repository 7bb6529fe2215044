"""Detects the kind of a document: by its name or media type, or by its bytes if they differ."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePosixPath

from contract.units import write_size
from rag.documents.pieces import UnreadableFile

MAX_UNPACKED = 256 * 1024 * 1024
MAX_ENTRIES = 10_000
MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
HTML = frozenset({".html", ".htm", ".xhtml"})
PLAIN = frozenset({
    ".txt", ".text", ".rst", ".adoc", ".org", ".log", ".py", ".js", ".ts", ".tsx", ".jsx", ".java", ".kt", ".go",
    ".rs", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".rb", ".php", ".swift", ".scala", ".sh", ".sql", ".css", ".json",
    ".jsonl", ".ndjson", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".xml", ".tex", ".srt", ".vtt",
})  # fmt: skip
WORD = frozenset({".docx", ".docm", ".dotx", ".dotm"})
EXCEL = frozenset({".xlsx", ".xlsm", ".xltx", ".xltm"})
TABLES = frozenset({".csv", ".tsv"})
SUFFIXES = MARKDOWN | HTML | PLAIN | WORD | EXCEL | TABLES | {".pdf"}
READ = "supported are text, Markdown, HTML, PDF, DOCX, XLSX, CSV, JSON, XML, YAML and source code"
# Unsupported documents: in a folder they are reported; pictures and programs are ignored.
_BY_BYTES = frozenset({".doc", ".dot", ".xls", ".rtf"})
OTHERS = {
    ".doc": "Word 97-2003", ".dot": "Word 97-2003", ".xls": "Excel 97-2003", ".xlsb": "binary Excel",
    ".ppt": "PowerPoint 97-2003", ".pptx": "PowerPoint", ".pptm": "PowerPoint", ".ppsx": "PowerPoint",
    ".odt": "OpenDocument text", ".ods": "OpenDocument spreadsheet", ".odp": "OpenDocument presentation",
    ".rtf": "RTF", ".epub": "EPUB", ".mobi": "Mobipocket", ".eml": "an e-mail", ".msg": "an Outlook e-mail",
    ".mht": "MHTML", ".mhtml": "MHTML", ".pages": "Pages", ".numbers": "Numbers", ".xps": "XPS",
    ".djvu": "DjVu", ".wpd": "WordPerfect", ".vsdx": "Visio", ".one": "OneNote", ".zip": "a ZIP archive",
}  # fmt: skip
_MEDIA = {
    "text/markdown": ".md", "text/html": ".html", "application/xhtml+xml": ".html", "text/plain": ".txt",
    "application/pdf": ".pdf", "text/csv": ".csv", "text/tab-separated-values": ".tsv", "application/json": ".json",
    "application/xml": ".xml", "text/xml": ".xml", "application/yaml": ".yaml", "application/x-ndjson": ".jsonl",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-word.document.macroenabled.12": ".docm",
    "application/vnd.ms-excel.sheet.macroenabled.12": ".xlsm",
}  # fmt: skip
_LOOKED_AT = 1024
_PAGE = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,400}?-->\s*)?<(?:!doctype\s+html|html|head|body|meta|table)\b", re.I | re.S
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_BYTES = (
    (b"{\\rtf", "RTF"), (b"\x89PNG", "a picture (PNG)"), (b"\xff\xd8\xff", "a picture (JPEG)"),
    (b"GIF8", "a picture (GIF)"), (b"II*\x00", "a picture (TIFF)"), (b"MM\x00*", "a picture (TIFF)"),
    (b"\x1f\x8b", "a gzip archive: unpack it"), (b"7z\xbc\xaf", "a 7z archive: unpack it"),
    (b"Rar!", "a RAR archive: unpack it"), (b"\x7fELF", "a program"), (b"SQLite format 3", "a SQLite database"),
)  # fmt: skip
_IN_ZIP = (
    ("word/", ".docx"), ("xl/workbook.xml", ".xlsx"), ("xl/workbook.bin", "binary Excel (XLSB)"),
    ("ppt/", "PowerPoint"), ("visio/", "Visio"), ("index/document.iwa", "Pages, Numbers or Keynote"),
)  # fmt: skip
_MIME_IN_ZIP = {
    b"application/vnd.oasis.opendocument.text": "OpenDocument text (ODT)",
    b"application/vnd.oasis.opendocument.spreadsheet": "OpenDocument spreadsheet (ODS)",
    b"application/vnd.oasis.opendocument.presentation": "OpenDocument presentation (ODP)",
    b"application/epub+zip": "EPUB",
}


def suffix_of(name: str, media_type: str = "") -> str:
    """Returns the kind of a file by its name or media type. Raises `UnreadableFile` if it is unsupported."""
    suffix = PurePosixPath(name).suffix.lower()
    by_media = _MEDIA.get(media_type.partition(";")[0].strip().lower(), "")
    # The suffix of a URL means nothing: a page at `/pump.php` is not source code.
    if suffix not in SUFFIXES or (by_media and "://" in name):
        suffix = by_media
    if not suffix:
        own = PurePosixPath(name).suffix
        what = OTHERS.get(own.lower(), "")
        label = f"{own} ({what})" if what else own or media_type or "a file without a suffix"
        raise UnreadableFile(f"{label} is not supported: {READ}")
    return suffix


def kind_of(name: str, data: bytes, media_type: str = "") -> str:
    """As `suffix_of`, but the bytes take precedence over the name: a PDF is a PDF under any name."""
    start = data[:_LOOKED_AT]
    if b"%PDF-" in start and not _is_text(name, start):
        return ".pdf"
    if start.startswith(_ZIP):
        return _in_zip(data)
    if start.startswith(_OLE):
        raise UnreadableFile(_old_office(data))
    for mark, what in _BYTES:
        if start.startswith(mark):
            raise UnreadableFile(f"it is {what}, which is not supported: {READ}")
    own = PurePosixPath(name).suffix.lower()
    office = WORD | EXCEL | {".pdf"} | _BY_BYTES
    if own in office or (own not in SUFFIXES and not media_type):
        if _PAGE.match(start):
            # Web applications send HTML as .doc and .xls.
            return ".html"
        if own in {".xls", ".xlsx"} and _is_table(data):
            return ".csv"
    suffix = suffix_of(name, media_type)
    packed = WORD | EXCEL | {".pdf"}
    declared = _MEDIA.get(media_type.partition(";")[0].strip().lower(), "")
    if suffix in packed and declared and declared not in packed:
        # The text that another program extracted from a PDF, under the same name.
        return declared
    if suffix in packed and data:
        raise UnreadableFile(
            f"its name ends in {suffix}, but it is not a valid {suffix[1:].upper()} file: it may be damaged"
        )
    return suffix


def check_name(name: str) -> None:
    """Raises `UnreadableFile` if the name alone shows that the file is unsupported."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in OTHERS and suffix not in _BY_BYTES:
        suffix_of(name)


def _is_text(name: str, start: bytes) -> bool:
    """Whether it is a text that only mentions the PDF header."""
    return PurePosixPath(name).suffix.lower() != ".pdf" and not start.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(
        b"%PDF-"
    )


def _is_table(data: bytes) -> bool:
    lines = [line for line in data[: 16 * _LOOKED_AT].split(b"\n")[:20] if line.strip()]
    between = (b"\t", b";", b",")
    is_text = b"\x00" not in data[:_LOOKED_AT]
    return is_text and bool(lines) and all(any(sign in line for sign in between) for line in lines[:5])


def _in_zip(data: bytes) -> str:
    """Returns the kind of a ZIP archive. Raises `UnreadableFile`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_unpacked(archive)
            names = [name.lower() for name in archive.namelist()]
            for part, what in _IN_ZIP:
                if any(name.startswith(part) for name in names):
                    if what in WORD | EXCEL:
                        return what
                    raise UnreadableFile(f"it is {what}, which is not supported: {READ}")
            mime = archive.read("mimetype")[:100].strip() if "mimetype" in names else b""
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        raise UnreadableFile(f"it is a damaged archive ({error}): save it again") from None
    what = next((what for start, what in _MIME_IN_ZIP.items() if mime.startswith(start)), "")
    raise UnreadableFile(f"it is {what or 'an archive of files (unpack it)'}, which is not supported: {READ}")


def _check_unpacked(archive: zipfile.ZipFile) -> None:
    """Rejects an archive whose declared sizes are too large, before unpacking it."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise UnreadableFile(f"it is an archive of more than {MAX_ENTRIES:,} files: split it")
    if sum(entry.file_size for entry in entries) > MAX_UNPACKED:
        raise UnreadableFile(f"it would be larger than {write_size(MAX_UNPACKED)} unpacked")


def _old_office(data: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "it is protected with a password: save it without one"
    kinds = (("WordDocument", "Word 97-2003: save it as .docx"), ("Workbook", "Excel 97-2003: save it as .xlsx"))
    for stream, what in (*kinds, ("PowerPoint", "PowerPoint 97-2003"), ("__substg1.0", "an Outlook e-mail")):
        if stream.encode("utf-16-le") in data:
            return f"it is {what}, which is not supported: {READ}"
    return f"it is an Office 97-2003 file or similar, which is not supported: {READ}"
