"""Connections are made to the addresses that were checked, by name, at a redirect, and when a name moves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from contract.checked_transport import CheckedTransport
from contract.dialer import Dialer, Resolve, give_back, h11_state_of, is_public
from contract.egress import CallFailed, read_proxy
from tests.reports.proxies import SecureHost, certificate
from tests.reports.vendors import response

PUBLIC = "93.184.216.34"
PLAIN = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"ok"]
PLACE = "A connection goes to the address that was checked, and never to a private one that is not allowed"


class Network(httpcore.AsyncMockBackend):
    """Keeps what was connected to; every stream reads the same."""

    def __init__(self, buffer: list[bytes]) -> None:
        super().__init__(buffer)
        self.reached: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.reached.append(host)
        return await super().connect_tcp(host, port)


def names(*answers: list[str]) -> Resolve:
    """Resolves to each of `answers` in turn, the last one from then on."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        if host[:1].isdigit():
            return [host]
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


def transport(dialer: Dialer, *, secure: bool = False) -> CheckedTransport:
    return CheckedTransport(ssl.create_default_context(), dialer, secure=secure)


def ran(act: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await act()

    asyncio.run(run())


@pytest.mark.guarantee("secrets", PLACE)
def test_a_name_that_moves_is_checked_each_time_and_resolved_once() -> None:
    async def act() -> None:
        network = Network(PLAIN)
        dialer = Dialer(private=False, resolve=names([PUBLIC], ["10.0.0.1"]), network=network)
        async with httpx.AsyncClient(transport=transport(dialer)) as client:
            assert (await client.get("http://rebinds.test/", headers={"connection": "close"})).text == "ok"
            with pytest.raises(CallFailed, match="private"):
                await client.get("http://rebinds.test/")
        assert network.reached == [PUBLIC]

    ran(act)


@pytest.mark.guarantee("secrets", PLACE)
@pytest.mark.parametrize("where", ["http://169.254.169.254/", "http://10.0.0.1/x", "http://inside.test/"])
def test_a_redirect_is_checked_like_the_first_address(where: str) -> None:
    async def act() -> None:
        network = Network([b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nlocation: %b\r\n\r\n" % where.encode()])
        dialer = Dialer(private=False, resolve=names([PUBLIC], ["192.168.0.1"]), network=network)
        async with httpx.AsyncClient(transport=transport(dialer), follow_redirects=True) as client:
            with pytest.raises(CallFailed, match="private"):
                await client.get("http://outside.test/")
        assert network.reached == [PUBLIC]

    ran(act)


def test_of_several_addresses_only_public_ones_are_connected_to() -> None:
    async def act() -> None:
        network = Network(PLAIN)
        dialer = Dialer(private=False, resolve=names(["127.0.0.1", "::1", PUBLIC]), network=network)
        await dialer.connect_tcp("both.test", 80)
        assert network.reached == [PUBLIC]

    ran(act)


def test_the_next_address_is_tried_when_one_refuses() -> None:
    async def act() -> None:
        class Refusing(Network):
            async def connect_tcp(self, host: str, *arguments: Any, **more: Any) -> httpcore.AsyncNetworkStream:
                stream = await super().connect_tcp(host, *arguments, **more)
                if host == "10.0.0.1":
                    raise httpcore.ConnectError("refused")
                return stream

        network = Refusing(PLAIN)
        await Dialer(resolve=names(["10.0.0.1", PUBLIC]), network=network).connect_tcp("two.test", 80)
        assert network.reached == ["10.0.0.1", PUBLIC]

    ran(act)


def test_tls_and_host_are_of_the_name_and_the_connection_of_its_address(tmp_path: Path) -> None:
    place, tls = certificate(tmp_path, "api.vendor.test")
    host = SecureHost(tls, lambda _: response(b"a page", "text/plain"))
    trusting = ssl.create_default_context(cafile=str(place))

    async def act() -> None:
        dialer = Dialer(resolve=names(["127.0.0.1"]))
        async with httpx.AsyncClient(transport=CheckedTransport(trusting, dialer, secure=True)) as client:
            assert (await client.get(f"https://api.vendor.test:{host.port}/")).text == "a page"
            with pytest.raises(CallFailed, match="TLS"):
                await client.get(f"https://other.vendor.test:{host.port}/")

    ran(act)
    host.close()
    assert f"host: api.vendor.test:{host.port}" in host.heads[0].lower()


def test_what_follows_an_answer_is_not_the_next_one() -> None:
    async def act() -> None:
        network = Network([PLAIN[0], b"okHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"])
        pool = httpcore.AsyncConnectionPool(network_backend=Dialer(resolve=names([PUBLIC]), network=network))
        given = await pool.handle_async_request(
            httpcore.Request("GET", "http://two.test/", headers={"host": "two.test"})
        )
        said = "httpcore has moved the parser of a connection: `h11_state_of` must follow, or answers can be mistaken"
        assert h11_state_of(given) is not None, said
        assert b"".join([data async for data in given.aiter_stream()]) == b"ok"
        await give_back(given)
        assert pool.connections == []
        await pool.aclose()

    ran(act)


@pytest.mark.parametrize("addresses", [["192.168.0.1"], [PUBLIC, "192.168.0.1"]])
def test_a_host_behind_a_proxy_is_checked_by_its_name(addresses: list[str]) -> None:
    async def act() -> None:
        network = Network([b"HTTP/1.1 200 OK\r\n\r\n"])
        proxy = read_proxy("http://10.1.1.1:3128")
        dialer = Dialer(proxy, private=False, resolve=names(addresses), network=network)
        async with httpx.AsyncClient(transport=transport(dialer)) as client:
            with pytest.raises(CallFailed, match="private"):
                await client.get("http://inside.test/")
        assert network.reached == []

    ran(act)


def test_a_host_behind_a_proxy_is_checked_by_the_name_that_the_proxy_is_asked_for() -> None:
    async def act() -> None:
        checked: list[str] = []

        async def resolve(host: str, port: int) -> list[str]:
            checked.append(host)
            return ["10.1.1.1"] if host.startswith("xn--") else [PUBLIC]

        dialer = Dialer(read_proxy("http://10.9.9.9:3128"), private=False, resolve=resolve, network=Network([]))
        async with httpx.AsyncClient(transport=transport(dialer)) as client:
            with pytest.raises(CallFailed, match="private"):
                await client.get("http://faß.test/")
        assert checked == ["xn--fa-hia.test"]

    ran(act)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2606:4700:4700::1111", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        (f"::ffff:{PUBLIC}", True),
        # Of IPv4 within IPv6: what translates between them leads into one's own network.
        ("64:ff9b::10.0.0.1", False),
        (f"64:ff9b::{PUBLIC}", True),
        ("64:ff9b:1::10.0.0.1", False),
        ("::10.0.0.1", False),
        ("::", False),
        ("2002:a00:1::", False),
        ("::ffff:0:a00:1", False),
        ("fec0::1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public
