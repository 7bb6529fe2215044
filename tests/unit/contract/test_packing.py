from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.packing import PIECE, CorruptBody, ExpansionTooLarge, UnknownCoding, Unpacker, read_codings, unpack

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
codings = st.lists(st.sampled_from(sorted(PACK)), min_size=1, max_size=3)
bodies = st.one_of(
    st.binary(max_size=300), st.builds(lambda piece, times: piece * times, st.binary(), st.integers(0, 9999))
)


def packed(body: bytes, names: list[str]) -> bytes:
    for name in names:
        body = PACK[name](body)
    return body


@settings(deadline=None)
@given(body=bodies, names=codings, cuts=st.lists(st.integers(0, 5000), max_size=8), most=st.integers(1, 100_000))
def test_any_split_gives_the_same(body: bytes, names: list[str], cuts: list[int], most: int) -> None:
    data = packed(body, names)
    places = sorted({0, len(data), *[cut for cut in cuts if cut < len(data)]})
    unpacker = Unpacker(names)
    out = []
    for start, end in pairwise(places):
        unpacker.give(data[start:end])
        while piece := unpacker.take(most):
            out.append(piece)
    unpacker.finish()
    assert b"".join(out) == body


@settings(deadline=None)
@given(data=st.binary(max_size=200), names=codings)
def test_anything_else_is_broken(data: bytes, names: list[str]) -> None:
    with contextlib.suppress(CorruptBody, ExpansionTooLarge):
        unpack(data, names, 1_000_000)


@settings(deadline=None)
@given(body=st.binary(min_size=1, max_size=300), names=codings, at=st.floats(0, 0.99))
def test_what_ends_early_is_broken(body: bytes, names: list[str], at: float) -> None:
    data = packed(body, names)
    cut = max(1, int(len(data) * at))
    with pytest.raises(CorruptBody):
        unpack(data[:cut], names, 1_000_000)


@pytest.mark.parametrize("name", sorted(PACK))
def test_the_limit_is_exact(name: str) -> None:
    data = PACK[name](b"x" * 300_000)
    assert len(unpack(data, [name], 300_000)) == 300_000
    with pytest.raises(ExpansionTooLarge):
        unpack(data, [name], 299_999)


@pytest.mark.parametrize("names", [["gzip"], ["deflate"], ["br"], ["zstd"], ["gzip", "gzip"], ["gzip", "br"]])
def test_each_piece_is_bounded(names: list[str]) -> None:
    unpacker = Unpacker(names)
    unpacker.give(packed(bytes(20_000_000), names))
    sizes = []
    while piece := unpacker.take():
        sizes.append(len(piece))
    assert sum(sizes) == 20_000_000
    # A decoder of br gives whole blocks, which double.
    assert max(sizes) <= 4 * PIECE


def test_a_flushed_event_comes_at_once() -> None:
    for name in ("gzip", "deflate", "br", "zstd"):
        unpacker = Unpacker([name])
        if name == "br":
            writer = brotli.Compressor()
            parts = [writer.process(b"data: 1\n\n") + writer.flush(), writer.process(b"data: 2\n\n") + writer.flush()]
        elif name == "zstd":
            frames = zstd.ZstdCompressor()
            block: Literal[1] = zstd.ZstdCompressor.FLUSH_BLOCK
            parts = [frames.compress(b"data: 1\n\n", block), frames.compress(b"data: 2\n\n", block)]
        else:
            bits = 31 if name == "gzip" else 15
            flow = zlib.compressobj(wbits=bits)
            parts = [flow.compress(each) + flow.flush(zlib.Z_SYNC_FLUSH) for each in (b"data: 1\n\n", b"data: 2\n\n")]
        for part, event in zip(parts, (b"data: 1\n\n", b"data: 2\n\n"), strict=True):
            unpacker.give(part)
            assert unpacker.take() == event
            assert unpacker.take() == b""
        with pytest.raises(CorruptBody):
            unpacker.finish()


def test_a_window_that_takes_much_memory_is_refused() -> None:
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 27}
    data = zstd.ZstdCompressor(options=options).compress(b"x" * 100, zstd.ZstdCompressor.FLUSH_BLOCK)
    with pytest.raises(CorruptBody):
        unpack(data, ["zstd"], 1000)


@pytest.mark.parametrize(
    ("header", "names"),
    [("", ()), ("identity", ()), ("GZIP", ("gzip",)), ("x-gzip", ("gzip",)), (" gzip ,, br", ("gzip", "br"))],
)
def test_codings_are_read(header: str, names: tuple[str, ...]) -> None:
    assert read_codings(header) == names


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
from contract.packing import UnknownCoding, known_codings, read_codings
try:
    read_codings(sys.argv[2])
except UnknownCoding as error:
    print(error, *known_codings())
"""


@pytest.mark.parametrize(
    ("package", "coding", "left"),
    [("brotli", "br", "gzip deflate zstd"), ("backports.zstd", "zstd", "gzip deflate br")],
)
def test_a_package_that_is_not_installed(package: str, coding: str, left: str) -> None:
    command = [sys.executable, "-c", WITHOUT, package, coding]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": "."}).stdout
    assert "gatehouse-platform[packing]" in said
    assert said.strip().endswith(left)


@pytest.mark.parametrize("header", ["compress", "gzip, nonsense", "gzip,gzip,gzip,gzip", "gzip;q=1"])
def test_unknown_codings(header: str) -> None:
    with pytest.raises(UnknownCoding):
        read_codings(header)
