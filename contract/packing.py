"""Decompresses bodies (`content-encoding`: gzip, deflate, zstd, br) incrementally and within bounds.

gzip and deflate come with Python; zstd and br need the packages backports.zstd and brotli (the extra `packing`).
"""

from __future__ import annotations

import functools
import importlib
import zlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXTRA = "gatehouse-platform[packing]"
# Several codings may be applied to one body; in practice at most two are.
MOST_CODINGS = 3
PIECE = 64 * 1024
# The window of a zstd decoder: 8 MB, the limit for HTTP in RFC 9659.
_ZSTD_WINDOW_LOG = 23


class UnknownCoding(ValueError):
    """An unsupported content coding."""


class CorruptBody(ValueError):
    """The data is not valid in its coding, or ends early."""


class ExpansionTooLarge(ValueError):
    """The decompressed data exceeds the limit."""


class _Stage(Protocol):
    """The decoder of one coding. `done`: it has read the end of the data."""

    done: bool

    def feed(self, data: bytes, most: int) -> bytes:
        """Adds `data` and returns about `most` bytes of output. Raises `CorruptBody`."""
        ...


class _Zlib:
    """gzip, which may have several members, and deflate with its zlib header."""

    def __init__(self, bits: int, *, several: bool = False) -> None:
        self._bits = bits
        self._several = several
        self._decoder = zlib.decompressobj(bits)
        self._held = b""
        self.done = False

    def feed(self, data: bytes, most: int) -> bytes:
        """See `_Stage`."""
        data = self._held + data if self._held else data
        out = b""
        while not out:
            if self.done:
                # Some writers pad the last block with zeros.
                data = data.lstrip(b"\0") if self._several else data
                if not data:
                    break
                if not self._several:
                    raise CorruptBody("data follows its end")
                self._decoder, self.done = zlib.decompressobj(self._bits), False
            try:
                out = self._decoder.decompress(data, most)
            except zlib.error as error:
                raise CorruptBody(str(error).partition(":")[2].strip() or str(error)) from None
            self.done = self._decoder.eof
            data = self._decoder.unused_data if self.done else self._decoder.unconsumed_tail
            if not data and not self.done:
                break
        self._held = data
        return out


class _Deflate:
    """`deflate`: with the zlib header of the standard, or raw, as old servers send it."""

    def __init__(self) -> None:
        self._begun = b""
        self._inner: _Zlib | None = None
        self.done = False

    def feed(self, data: bytes, most: int) -> bytes:
        """See `_Stage`."""
        if self._inner is None:
            data = self._begun = self._begun + data
            if len(data) < 2:
                return b""
            framed = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._inner = _Zlib(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS)
        out = self._inner.feed(data, most)
        self.done = self._inner.done
        return out


class _Zstd:
    """zstd, which may have several frames."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._decoder = self._fresh()
        self._held = b""
        self.done = False

    def _fresh(self) -> Any:
        return self._library.ZstdDecompressor(
            options={self._library.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        )

    def feed(self, data: bytes, most: int) -> bytes:
        """See `_Stage`."""
        data, self._held = self._held + data, b""
        while True:
            if self.done:
                if not data:
                    return b""
                self._decoder, self.done = self._fresh(), False
            try:
                out: bytes = self._decoder.decompress(data, most)
            except self._library.ZstdError as error:
                raise CorruptBody(str(error)) from None
            self.done = self._decoder.eof
            data = self._decoder.unused_data if self.done else b""
            if out or not data:
                self._held = data
                return out


class _Brotli:
    """br. The output may exceed `most` a little: the decoder returns whole blocks."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._decoder = library.Decompressor()
        self._held = b""
        self.done = False

    def feed(self, data: bytes, most: int) -> bytes:
        """See `_Stage`."""
        self._held += data
        if self.done:
            if self._held:
                raise CorruptBody("data follows its end")
            return b""
        try:
            # The decoder must return its pending output before it accepts more input.
            given, self._held = (self._held, b"") if self._decoder.can_accept_more_data() else (b"", self._held)
            out: bytes = self._decoder.process(given, output_buffer_limit=most)
        except self._library.error as error:
            raise CorruptBody(str(error)) from None
        self.done = self._decoder.is_finished()
        return out


@functools.cache
def _brotli() -> Any:
    library = importlib.import_module("brotli")
    # Before 1.2 there was no limit for the output.
    if not hasattr(library.Decompressor, "can_accept_more_data"):
        raise ImportError("brotli is older than 1.2")
    return library


@functools.cache
def _zstd() -> Any:
    return importlib.import_module("backports.zstd")


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16, several=True),
    "deflate": _Deflate,
    "zstd": lambda: _Zstd(_zstd()),
    "br": lambda: _Brotli(_brotli()),
}
_OTHER_NAMES = {"x-gzip": "gzip"}


@functools.cache
def known_codings() -> tuple[str, ...]:
    """Returns the codings that the installed packages support."""
    found = ["gzip", "deflate"]
    for name, load in (("zstd", _zstd), ("br", _brotli)):
        try:
            load()
        except ImportError:
            continue
        found.append(name)
    return tuple(found)


def read_codings(header: str) -> tuple[str, ...]:
    """Parses `content-encoding`; returns the codings in the order of their application, none for `identity`.

    Raises `UnknownCoding`.
    """
    words = [word.strip().lower() for word in header.split(",")]
    names = [_OTHER_NAMES.get(word, word) for word in words if word not in ("", "identity")]
    for name in names:
        if name not in _STAGES:
            raise UnknownCoding(f"the coding '{name[:40]}' is not supported; use one of: {', '.join(known_codings())}")
        if name not in known_codings():
            raise UnknownCoding(f"the coding '{name}' needs a package that is not installed: {EXTRA}")
    if len(names) > MOST_CODINGS:
        raise UnknownCoding(f"{len(names)} codings on one body are more than {MOST_CODINGS}")
    return tuple(names)


class Unpacker:
    """Decompresses incrementally: `give` data, then `take` until it returns nothing."""

    def __init__(self, codings: Sequence[str]) -> None:
        """`codings` as `read_codings` returns them."""
        self._stages = [_STAGES[name]() for name in reversed(codings)]
        self._input = b""
        self._at = 0
        self._empty = True

    def give(self, data: bytes) -> None:
        """Adds input."""
        left = self._input[self._at :]
        self._input, self._at = left + data if left else data, 0
        self._empty = self._empty and not data

    def take(self, most: int = PIECE) -> bytes:
        """Returns at most about `most` bytes; empty if more input is needed. Raises `CorruptBody`."""
        return self._pull(len(self._stages) - 1, most)

    def _pull(self, place: int, most: int) -> bytes:
        if place < 0:
            at, self._at = self._at, self._at + PIECE
            return self._input[at : at + PIECE]
        stage = self._stages[place]
        # Read its pending output before adding input.
        out = stage.feed(b"", most)
        while not out and (data := self._pull(place - 1, PIECE)):
            out = stage.feed(data, most)
        return out

    def finish(self) -> None:
        """Ends the input. Raises `CorruptBody` if it is incomplete; no input at all is an empty body."""
        if not self._empty and not all(stage.done for stage in self._stages):
            raise CorruptBody("the data is incomplete")


def unpack(data: bytes, codings: Sequence[str], limit: int) -> bytes:
    """Decompresses a body. Raises `CorruptBody`, and `ExpansionTooLarge` once the output exceeds `limit` bytes."""
    unpacker = Unpacker(codings)
    unpacker.give(data)
    parts: list[bytes] = []
    size = 0
    while piece := unpacker.take():
        size += len(piece)
        if size > limit:
            raise ExpansionTooLarge(f"more than {limit} bytes")
        parts.append(piece)
    unpacker.finish()
    return b"".join(parts)
