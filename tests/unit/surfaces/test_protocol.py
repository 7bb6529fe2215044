"""What a connection may bring before anybody's key is known, over real sockets and a small app."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.surfaces.connections import Bounds
from gateway.surfaces.protocol import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL
from tests.processes import eventually
from tests.unit.surfaces.listening import HEAD, SMALL, guarded, place, rest, run


@guarded
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * MAX_URL + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /?" + b"a" * 5_000_000, 414),
        (HEAD + b"x: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n", 431),
        (HEAD + b"x: " + b"y" * 5_000_000, 431),
        (HEAD + b"y" * 5_000_000, 431),
        (HEAD + b"".join(b"x-%d: %b\r\n" % (each, b"y" * 1000) for each in range(70)) + b"\r\n", 431),
        (HEAD + b"a: b\r\n" * MAX_HEADERS + b"\r\n", 431),
        (b"\r\n" * 200_000, 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: " + b"y" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: " + b"y" * 66_000 + b"\r\n\r\n", 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 5_000_000, 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n" + (b"1;" + b"x" * 3000 + b"\r\nx\r\n") * 3000, 400),
        (b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 400),
        (HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_is_too_much_is_refused_and_the_answer_arrives(data: bytes, status: int) -> None:
    async def work() -> None:
        async with place() as here:
            got = await here.ask(data)
            assert got.startswith(b"HTTP/1.1 %d " % status), got[:100]
            assert b"connection: close" in got
            assert "ok" not in here.app.ended

    run(work())


@guarded
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_head_in_pieces_has_the_same_bounds(piece: int) -> None:
    async def work() -> None:
        async with place() as here:
            fits = HEAD + b"x: " + b"y" * 3000 + b"\r\ncontent-length: 2\r\n\r\nhi"
            reader, writer = await here.open()
            for start in range(0, len(fits), piece):
                writer.write(fits[start : start + piece])
                await writer.drain()
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()
            # One byte at a time for so long would take minutes: the last of it comes slowly.
            endless = HEAD + b"x: " + b"y" * (MAX_HEADER_BYTES - 2000)
            reader, writer = await here.open()
            writer.write(endless)
            for _ in range(4000 // piece + 1):
                writer.write(b"y" * piece)
                await writer.drain()
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
            writer.close()

    run(work())


@guarded
def test_memory_does_not_grow_with_what_is_refused() -> None:
    async def work() -> None:
        async with place() as here:
            _, writer = await here.open()
            writer.write(HEAD + b"x: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    writer.write(b"y" * 1_000_000)
                    await writer.drain()
                raise AssertionError("a hundred megabytes were read")
            writer.close()
            assert (await here.ask(HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi")).endswith(b"hi")

    run(work())


@guarded
def test_what_follows_the_body_is_no_header() -> None:
    async def work() -> None:
        async with place() as here:
            trailers = b"authorization: Bearer k\r\nx-forwarded-for: 10.0.0.1\r\nx-gatehouse-user: bob\r\n"
            chunked = b"transfer-encoding: chunked\r\nx-gatehouse-user: alice\r\nconnection: close\r\n\r\n"
            got = await here.ask(HEAD + chunked + b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n")
            assert got.startswith(b"HTTP/1.1 200 ")
            (seen,) = here.app.seen
            assert seen[b"x-gatehouse-user"] == b"alice"
            assert b"authorization" not in seen
            assert b"x-forwarded-for" not in seen

    run(work())


@guarded
def test_the_headers_of_a_request_are_its_own_behind_another_with_trailers() -> None:
    async def work() -> None:
        async with place() as here:
            first = HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx-a: 1\r\n\r\n"
            second = b"GET /second HTTP/1.1\r\nhost: y\r\nx-b: 2\r\nconnection: close\r\n\r\n"
            await here.ask(first + second)
            assert [sorted(each) for each in here.app.seen] == [
                [b"host", b"transfer-encoding"],
                [b"connection", b"host", b"x-b"],
            ]

    run(work())


def test_an_upgrade_that_is_not_taken_is_ignored_and_the_body_read() -> None:
    async def work() -> None:
        async with place() as here:
            offer = b"connection: Upgrade, HTTP2-Settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIA\r\n"
            for body in (
                b"content-length: 5\r\n\r\nhello",
                b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ):
                got = await here.ask(HEAD + offer + body)
                assert got.startswith(b"HTTP/1.1 200 ")
                assert got.endswith(b"hello")
            assert b"upgrade" not in here.app.seen[0]

    run(work())


def test_a_hundred_requests_at_once_on_one_connection_are_too_many() -> None:
    async def work() -> None:
        async with place() as here:
            one = b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
            got = await here.ask(one * 100)
            assert got == b""
            await eventually(lambda: here.app.ended == ["left"])

    run(work())


def test_requests_behind_each_other_are_answered_in_order() -> None:
    async def work() -> None:
        async with place() as here:
            asks = [HEAD + b"content-length: 1\r\n\r\n%d" % each for each in range(9)]
            got = await here.ask(b"".join(asks) + HEAD + b"connection: close\r\n\r\n")
            assert [each[:1] for each in got.split(b"\r\n\r\n")[1:10]] == [b"%d" % each for each in range(9)]

    run(work())


def test_no_answer_of_ours_is_written_into_another_one() -> None:
    async def work() -> None:
        async with place() as here:
            got = await here.ask(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n")
            assert got == b""
            await eventually(lambda: here.app.ended == ["left"])

    run(work())


def test_a_caller_who_leaves_ends_the_request_that_is_answered_not_only_the_last_one() -> None:
    async def work() -> None:
        async with place() as here:
            _, writer = await here.open()
            writer.write(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\nGET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
            await here.app.going.wait()
            writer.close()
            await eventually(lambda: here.app.ended == ["left"])

    run(work())


def test_an_answer_that_comes_before_the_body_does_not_keep_the_connection() -> None:
    async def work() -> None:
        async with place(SMALL) as here:
            got = await here.ask(b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx")
            assert got.startswith(b"HTTP/1.1 401 ")
            got = await here.ask(
                b"POST /early HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n"
            )
            assert got.startswith(b"HTTP/1.1 401 ")

    run(work())


_small = st.binary(max_size=30)
_part: st.SearchStrategy[bytes] = st.one_of(
    _small,
    st.sampled_from([
        b"POST /echo HTTP/1.1\r\n", b"GET /early HTTP/1.1\r\n", b"host: x\r\n", b"content-length: 3\r\n", b"\r\n",
        b"abc", b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
        b"connection: upgrade\r\nupgrade: h2c\r\n",
        b"expect: 100-continue\r\n", b"0\r\nx: y\r\n\r\n", b"3;a=b\r\n",
    ]),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_part, max_size=12).map(b"".join), max_size=12))
@pytest.mark.slow
def test_whatever_comes_ends_and_the_next_caller_is_served(sent: list[bytes]) -> None:
    async def work() -> None:
        bounds = Bounds(head_s=0.05, body_s=0.05, write_s=0.1, idle_s=0.05)
        async with place(bounds) as here:
            reader, writer = await here.open()
            for data in sent:
                # uvloop tells so that the other end has closed already.
                with contextlib.suppress(RuntimeError):
                    writer.write(data)
                await asyncio.sleep(0)
            await rest(reader)
            writer.close()
            await eventually(lambda: len(here.connections) == 0)
            ask = HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nhi"
            assert (await here.ask(ask)).endswith(b"hi")

    run(work())
