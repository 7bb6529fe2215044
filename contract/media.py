"""Detects media types of images, audio and files, under the names that vendors use."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes, urlsplit

from contract.errors import UnsupportedFeature

_SAME = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
    "text/x-markdown": "text/markdown",
    "application/csv": "text/csv",
}
_BY_ENDING = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "jfif": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "svg": "image/svg+xml",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "log": "text/plain",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "htm": "text/html",
    "html": "text/html",
    "css": "text/css",
    "xml": "text/xml",
    "json": "application/json",
    "yaml": "text/yaml",
    "yml": "text/yaml",
    "py": "text/x-python",
    "js": "text/javascript",
    "rtf": "text/rtf",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "m4a": "audio/m4a",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "mp4": "video/mp4",
    "mov": "video/mov",
    "webm": "video/webm",
    "mpeg": "video/mpeg",
}
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"ID3", "audio/mp3"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_BRANDS = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"avif": "image/avif"}
_GENERIC_TYPES = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-binary", "image/*"})
# Two magic bytes are too few to overrule the caller's type.
_WEAK = frozenset({"image/bmp"})
_DATA_URL = re.compile(r"data:(?P<type>[^,]*?)(?P<base64>;base64)?,", re.IGNORECASE)
_TEXTUAL = re.compile(r"text/|application/(?:[\w.+-]*\+)?(?:json|xml|yaml|x-yaml|csv|javascript|x-ndjson)\Z")
_VENDOR_FILES = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/")


def media_type(declared: str, data: str = "", name: str = "") -> str:
    """The media type in lower case, without parameters; empty if unknown.

    `data` is base64, `name` a file name or a URL. A type detected from the bytes takes precedence over `declared`.
    """
    plain = declared.partition(";")[0].strip().lower()
    plain = _SAME.get(plain, plain)
    detected = _detect(data) if data else ""
    if detected and (
        plain in _GENERIC_TYPES or (detected not in _WEAK and plain.partition("/")[0] == detected.partition("/")[0])
    ):
        return detected
    if plain not in _GENERIC_TYPES:
        return plain
    path = urlsplit(name).path if "://" in name else name
    ending = path.rpartition(".")[2].lower() if "." in path else ""
    return _BY_ENDING.get(ending, "")


def _detect(data: str) -> str:
    """The media type by the first bytes; empty if unknown."""
    try:
        head = base64.b64decode(data[:64].replace("-", "+").replace("_", "/"))
    except (binascii.Error, ValueError):
        return ""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "")
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")


def split_data_url(url: str) -> tuple[str, str]:
    """(media type, base64 data) of `data:TYPE;base64,DATA`; two empty strings for any other URL.

    The type is as the caller wrote it, with its parameters; other data is converted to base64.
    """
    if url[:5].lower() != "data:":
        return "", ""
    head = _DATA_URL.match(url)
    if head is None:
        return "", ""
    data = url[head.end() :]
    if head["base64"] is None:
        data = base64.b64encode(unquote_to_bytes(data)).decode("ascii")
    elif any(blank in data for blank in " \n\r\t"):
        # Line breaks as in MIME, which vendors refuse.
        data = "".join(data.split())
    return head["type"], data


def is_textual(kind: str) -> bool:
    """Whether files of this media type are text."""
    return _TEXTUAL.match(kind) is not None


def text_of(data: str) -> str | None:
    """The decoded text of base64 data; None if it is not UTF-8 text."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def refuse_file(where: str, what: str) -> UnsupportedFeature:
    """The error for a file that is stored at one vendor: a response without it would be wrong."""
    return UnsupportedFeature(
        f"'{where}' refers to {what}, which only the vendor that stores it can read: send the file itself",
        param=where,
    )


def check_url(url: str, where: str) -> None:
    """Raises `UnsupportedFeature` for the URL of a file that only Google can read."""
    if _VENDOR_FILES.match(url):
        raise refuse_file(where, "a file at Google")
