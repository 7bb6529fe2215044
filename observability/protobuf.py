"""A minimal encoder of OTLP's protobuf, for spans only.

The SDK's spans and encoder take about six times as long; `docs/decisions.md` has the figures, and the rule by which
this stays. A test holds it to the SDK's bytes. Field numbers: opentelemetry-proto 1.x, trace.proto and common.proto.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from observability.names import REQUEST_ID, RESPONSE_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from contract.exchange import AttributeValue
    from observability.trace import SpanRecord

# Caching these would only evict values that recur.
NEVER_THE_SAME = frozenset({REQUEST_ID, RESPONSE_ID})
_double = struct.Struct("<d").pack
_fixed64 = struct.Struct("<Q").pack


def varint(number: int) -> bytes:
    """Base-128; negative numbers as 64-bit two's complement."""
    if 0 <= number < 128:
        return _SMALL[number]
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL = [bytes([number]) for number in range(128)]


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field (wire type 2)."""
    return b"%b%b%b" % (varint(number << 3 | 2), varint(len(data)), data)


def _value(value: AttributeValue | tuple[str, ...]) -> bytes:
    """An AnyValue."""
    if isinstance(value, str):
        return field(1, value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    return field(5, b"".join([field(1, field(1, item.encode("utf-8", "replace"))) for item in value]))


def _pair(key: str, value: AttributeValue | tuple[str, ...]) -> bytes:
    """A KeyValue."""
    return field(1, key.encode()) + field(2, _value(value))


@lru_cache(maxsize=8192, typed=True)
def _known_pair(key: str, value: str | int | tuple[str, ...]) -> bytes:
    """Caches attributes, most of which are the same in every request."""
    return _span_attribute(key, value)


def _span_attribute(key: str, value: AttributeValue | tuple[str, ...]) -> bytes:
    return field(9, _pair(key, value))


def _attributes(values: Mapping[str, AttributeValue]) -> bytes:
    parts = []
    for key, value in values.items():
        if isinstance(value, list):
            parts.append(_known_pair(key, tuple(value)))
        elif isinstance(value, float) or key in NEVER_THE_SAME:
            parts.append(_span_attribute(key, value))
        else:
            parts.append(_known_pair(key, value))
    return b"".join(parts)


# An unset Status, and the flags: whether the parent is in another process.
_NO_STATUS = b"\x7a\x00"
_OWN_PARENT = b"\x85\x01" + struct.pack("<I", 0x100)
_REMOTE_PARENT = b"\x85\x01" + struct.pack("<I", 0x300)


@lru_cache(maxsize=256)
def _failure(message: str) -> bytes:
    """A Status with the code ERROR."""
    return field(15, (field(2, message.encode("utf-8", "replace")) if message else b"") + b"\x18\x02")


@lru_cache(maxsize=1024)
def _name_and_kind(name: str, kind: int) -> bytes:
    return field(5, name.encode("utf-8", "replace")) + b"\x30" + varint(kind)


def encode(span: SpanRecord) -> bytes:
    """A Span as field 2 of ScopeSpans."""
    parts = [
        b"\x0a\x10",
        span.trace_id,
        b"\x12\x08",
        span.span_id,
        field(3, span.trace_state.encode("utf-8", "replace")) if span.trace_state else b"",
        b"\x22\x08" + span.parent_id if span.parent_id else b"",
        _name_and_kind(span.name, span.kind),
        b"\x39",
        _fixed64(span.started_ns),
        b"\x41",
        _fixed64(span.ended_ns),
        _attributes(span.attributes),
        b"\x50" + varint(span.dropped) if span.dropped else b"",
        _failure(span.error) if span.failed else _NO_STATUS,
        _REMOTE_PARENT if span.remote else _OWN_PARENT,
    ]
    return field(2, b"".join(parts))


def request(resource: Mapping[str, AttributeValue], scope: str, spans: Iterable[bytes]) -> bytes:
    """An ExportTraceServiceRequest of one resource and one scope."""
    about = field(1, b"".join([field(1, _pair(key, value)) for key, value in resource.items()]))
    return field(1, about + field(2, field(1, field(1, scope.encode())) + b"".join(spans)))
