"""The W3C trace context: parses the caller's header, and generates span ids."""

from __future__ import annotations

import os

_LOWER_HEX = frozenset("0123456789abcdef")


def read_traceparent(header: str) -> tuple[str, str, int]:
    """(trace id, parent span id, flags) of a W3C `traceparent`; ("", "", 1) if it is missing or malformed."""
    parts = header.split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or len(parts[1]) != 32 or len(parts[2]) != 16 or len(parts[3]) != 2:
        return "", "", 1
    version, trace_id, span_id, flags = parts[:4]
    if version == "ff" or (version == "00" and len(parts) != 4) or not _LOWER_HEX.issuperset("".join(parts[:4])):
        return "", "", 1
    if not trace_id.strip("0") or not span_id.strip("0"):
        return "", "", 1
    return trace_id, span_id, int(flags, 16)


def new_span_id() -> str:
    """A random span id, 16 hexadecimal digits."""
    return os.urandom(8).hex()
