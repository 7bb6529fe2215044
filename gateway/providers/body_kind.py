"""Whether an answer's body is a stream of events or one JSON, told by its first bytes.

Servers send JSON as text/plain or text/html, and events without any content type; so the bytes decide, and the content
type only where they say nothing.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

# "": neither.
BodyKind: TypeAlias = Literal["events", "json", ""]

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b":")
_LONGEST = max(map(len, _FIELDS))


def body_kind(head: bytes, *, ended: bool = False) -> BodyKind | None:
    """The kind of a body that begins with `head`; None where more must come to tell."""
    begin = (head if head.startswith(_BOM) else head.lstrip()).removeprefix(_BOM).lstrip()[:_LONGEST]
    if begin[:1] in (b"{", b"["):
        return "json"
    if begin.startswith(_FIELDS):
        return "events"
    if ended:
        return ""
    if not begin or (len(begin) < 3 and _BOM.startswith(begin)):
        return None
    return None if any(len(begin) < len(field) and field.startswith(begin) for field in _FIELDS) else ""
