"""Public reports about how clients frame a request: offers of HTTP/2, waiting for 100, chunks."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator

import pytest

from tests.reports.vendors import House, house, user

BODY = json.dumps({"model": "o", "messages": [user("to be read " * 2000)]}).encode()
# As the client of Java's own library sends it, with every plain request.
SETTINGS = b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\n" + SETTINGS + b"Upgrade: h2c\r\n"
CHUNKED = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, BODY[:9], len(BODY) - 9, BODY[9:])


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("framing")) as it:
        yield it


def head(*lines: bytes) -> bytes:
    return b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + b"".join(lines) + b"\r\n"


def answers(it: House, pieces: list[bytes], count: int = 1) -> list[bytes]:
    """The status lines of what comes back; each piece is sent by itself."""
    with socket.create_connection(("127.0.0.1", it.gateway.port)) as connection:
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        for piece in pieces:
            connection.sendall(piece)
        found: list[bytes] = []
        while len(found) < count:
            found.append(reader.readline().strip())
            length = 0
            while line := reader.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            reader.read(length)
        return found


LENGTH = b"Content-Length: %d\r\n" % len(BODY)
TRANSFER = b"Transfer-Encoding: chunked\r\n"


@pytest.mark.report("http", "An offer to upgrade to HTTP/2 is ignored, and the request body is still read")
@pytest.mark.parametrize("upgrade", [H2C, H2C.lower(), H2C.replace(b"h2c", b"websocket"), b"Upgrade: h2c\r\n"])
@pytest.mark.parametrize("framing", [LENGTH, TRANSFER])
@pytest.mark.parametrize("cut", [0, 1, 40, 5000])
def test_offers_of_another_protocol(it: House, upgrade: bytes, framing: bytes, cut: int) -> None:
    body = BODY if framing == LENGTH else CHUNKED
    data = head(upgrade, framing) + body
    # Behind it comes another request on the same connection.
    pieces = [data[:-cut], data[-cut:], data] if cut else [data, data]
    assert answers(it, pieces, 2) == [b"HTTP/1.1 200 OK"] * 2
    assert json.dumps(it.last["messages"]) == json.dumps(json.loads(BODY)["messages"])


@pytest.mark.report("http", "A client that waits for 100 Continue gets it, for bodies with a length and chunked bodies")
@pytest.mark.parametrize("framing", [LENGTH, TRANSFER])
@pytest.mark.parametrize("upgrade", [b"", H2C])
@pytest.mark.parametrize("expect", [b"Expect: 100-continue\r\n", b"expect: 100-Continue\r\n"])
def test_waiting_for_100(it: House, framing: bytes, upgrade: bytes, expect: bytes) -> None:
    with socket.create_connection(("127.0.0.1", it.gateway.port)) as connection:
        connection.settimeout(10)
        connection.sendall(head(expect, upgrade, framing))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(BODY if framing == LENGTH else CHUNKED)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.report("http", "A compressed body may be chunked in a request that offers an upgrade to HTTP/2")
def test_all_at_once(it: House) -> None:
    packed = gzip.compress(BODY)
    pieces = [packed[at : at + 50] for at in range(0, len(packed), 50)]
    chunks = b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces])
    data = head(H2C, TRANSFER, b"Content-Encoding: gzip\r\n") + chunks + b"0\r\n\r\n"
    assert answers(it, [data]) == [b"HTTP/1.1 200 OK"]
    assert it.last["messages"][0]["content"] == "to be read " * 2000
