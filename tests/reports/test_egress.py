"""Public reports about networks whose only way out is a proxy."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import ConfigError
from contract.egress import DIRECT, Egress, from_environment, read_proxy
from contract.outbound import Call, Outbound
from gateway.assembly.configuration import load
from observability.webhook import post_event
from rag.documents.pieces import UnreadableFile
from rag.tools.fetch import FetchFailed, fetch
from rag.tools.mcp_server import McpServer
from rag.web import web_items
from tests.live import Gateway, running_gateway
from tests.reports.proxies import Proxy, SecureHost, certificate
from tests.reports.vendors import Upstream, openai_reply, plain, response

BODY = {"model": "far", "messages": [{"role": "user", "content": "hi"}]}
PASSWORD = "s3cret-pass:word"
CREDENTIALS = "user:s3cret-pass%3Aword@"
BASIC = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()


def yaml(url: str, provider: str = "", more: str = "") -> str:
    return (
        f'version: 1\nproviders: {{far: {{kind: openai, base_url: "{url}/v1", api_key: k{provider}}}}}\n'
        f'models: {{far: {{targets: [far/m], retry: {{attempts: 1}}}}}}\nobserve: {{log: "off"}}\n{more}'
    )


@contextmanager
def behind(proxy: Proxy, text: str, folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    with running_gateway(text, folder, environ) as gateway:
        yield gateway
    proxy.close()


@pytest.fixture
def far() -> Iterator[Upstream]:
    upstream = Upstream(plain)
    yield upstream
    upstream.close()


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecureHost]:
    place, tls = certificate(tmp_path, "api.vendor.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(place))
    host = SecureHost(tls, lambda head: response(openai_reply() if "/v1/" in head else b"a page", "application/json"))
    yield host
    host.close()


def got(url: str, egress: Egress, *, private: bool = False) -> tuple[str, str]:
    """What a tool fetches."""

    async def call() -> tuple[str, str]:
        outbound = Outbound("tools")
        try:
            return await fetch(outbound, Call(url, 5, private=private, egress=egress), 1000)
        finally:
            await outbound.close()

    return asyncio.run(call())


def tell(url: str, event: dict[str, str], egress: Egress) -> None:
    async def call() -> None:
        outbound = Outbound("webhooks")
        try:
            await post_event(outbound, url, event, egress)
        finally:
            await outbound.close()

    asyncio.run(call())


def ask(gateway: Gateway) -> tuple[int, str]:
    answer = gateway.request("POST", "/v1/chat/completions", BODY)
    return answer.status, answer.body.decode()


@pytest.mark.report(
    "http", "HTTPS goes through a proxy's CONNECT tunnel with TLS to the provider, and the connection is reused"
)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_tunnel(tmp_path: Path, secure: SecureHost, variable: str) -> None:
    proxy = Proxy(secure.port)
    environ = {variable: proxy.url.replace("://", f"://{CREDENTIALS}")}
    with behind(proxy, yaml("https://api.vendor.test"), tmp_path, environ) as gateway:
        assert [ask(gateway)[0] for _ in range(3)] == [200, 200, 200]
    assert proxy.tunnels == ["CONNECT api.vendor.test:443 HTTP/1.1"]
    assert f"proxy-authorization: {BASIC}" in proxy.heads[0]
    assert "Bearer" not in proxy.heads[0]
    assert len(secure.heads) == 3
    assert all("proxy-authorization" not in head and "host: api.vendor.test\r\n" in head for head in secure.heads)


@pytest.mark.report("http", "TLS through a proxy verifies the provider's hostname")
def test_certificates(tmp_path: Path, secure: SecureHost) -> None:
    proxy = Proxy(secure.port)
    with behind(proxy, yaml("https://other.vendor.test"), tmp_path, {"HTTPS_PROXY": proxy.url}) as gateway:
        status, text = ask(gateway)
    assert status == 502
    assert "TLS" in text
    assert secure.heads == []


@pytest.mark.report("http", "Plain HTTP goes through a proxy as forwarded requests")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_plain_http(tmp_path: Path, far: Upstream, variable: str) -> None:
    proxy = Proxy(far.port)
    environ = {variable: f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"}
    with behind(proxy, yaml("http://vllm.internal:8000"), tmp_path, environ) as gateway:
        assert ask(gateway)[0] == 200
        assert ask(gateway)[0] == 200
    assert proxy.tunnels == ["POST http://vllm.internal:8000/v1/chat/completions HTTP/1.1"]
    assert f"proxy-authorization: {BASIC}" in proxy.heads[0]
    assert [each.headers["host"] for each in far.requests] == ["vllm.internal:8000"] * 2


@pytest.mark.report("http", "A provider's `proxy` and `egress` in the YAML override the environment's proxy")
@pytest.mark.parametrize(
    ("provider", "more", "goes_through"),
    [
        (", proxy: PROXY", "", True),
        (", proxy: PROXY", "egress: {proxy: none}\n", True),
        ("", "egress: {proxy: PROXY}\n", True),
        ("", "egress: {proxy: PROXY, no_proxy: [other.test]}\n", True),
        (", proxy: none", "egress: {proxy: PROXY}\n", False),
        ("", "egress: {proxy: PROXY, no_proxy: [localhost.test, vllm.internal]}\n", False),
        ("", "egress: {proxy: PROXY, no_proxy: ['*']}\n", False),
        ("", "egress: {proxy: none}\n", False),
        ("", "egress: {no_proxy: [.internal]}\n", False),
        ("", "", True),
    ],
)
def test_the_yaml(tmp_path: Path, far: Upstream, provider: str, more: str, goes_through: bool) -> None:
    proxy = Proxy(far.port)
    text = yaml("http://vllm.internal:8000", provider, more).replace("PROXY", f'"{proxy.url}"')
    # The environment has one too: the YAML comes first.
    with behind(proxy, text, tmp_path, {"http_proxy": proxy.url}) as gateway:
        status, _ = ask(gateway)
    assert (status, bool(proxy.heads)) == ((200, True) if goes_through else (502, False))


@pytest.mark.report("http", "Calls to this machine bypass the environment's proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine(tmp_path: Path, far: Upstream, host: str) -> None:
    proxy = Proxy(far.port)
    with behind(proxy, yaml(f"http://{host}:{far.port}"), tmp_path, {"HTTP_PROXY": proxy.url}) as gateway:
        assert ask(gateway)[0] == 200
    assert proxy.heads == []


def test_a_providers_own_proxy_holds_for_this_machine_too(tmp_path: Path, far: Upstream) -> None:
    proxy = Proxy(far.port)
    text = yaml(f"http://127.0.0.1:{far.port}", f', proxy: "{proxy.url}"')
    with behind(proxy, text, tmp_path) as gateway:
        assert ask(gateway)[0] == 200
    assert len(proxy.heads) == 1


@pytest.mark.report("http", "An error from a proxy names the proxy's address and never its password")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            b"HTTP/1.1 407 Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
            "407",
        ),
        (b"HTTP/1.1 502 cannot find host\r\ncontent-length: 2\r\n\r\nno", "502"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", "403"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", ""),
        (b"", ""),
    ],
)
def test_refused(tmp_path: Path, scheme: str, answers: bytes, says: str) -> None:
    proxy = Proxy(9, answers)
    url = f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"
    text = yaml(f"{scheme}://api.vendor.test", f', proxy: "{url}"')
    with behind(proxy, text, tmp_path) as gateway:
        status, body = ask(gateway)
    assert status in (502, 503), body
    assert says in body or scheme == "http"
    if scheme == "https" or says == "407":
        assert f"the proxy http://127.0.0.1:{proxy.port}" in body
    assert "s3cret" not in body
    assert BASIC not in body


def test_a_proxy_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for scheme in ("http", "https"):
        text = yaml(f"{scheme}://api.vendor.test", f', proxy: "http://{CREDENTIALS}127.0.0.1:{port}"')
        with running_gateway(text, tmp_path) as gateway:
            status, body = ask(gateway)
        assert status == 502
        assert f"the proxy http://127.0.0.1:{port} can't be reached" in body
        assert "s3cret" not in body


def test_a_proxy_that_is_silent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        text = yaml("https://api.vendor.test", f', connect: 200ms, proxy: "http://127.0.0.1:{port}"')
        with running_gateway(text, tmp_path) as gateway:
            assert ask(gateway)[0] == 504


@pytest.mark.report("http", "`gatehouse check` refuses a proxy that cannot work and does not show its password")
@pytest.mark.parametrize(
    "url",
    [
        "socks5://user:s3cret@p:1080",
        "https://user:s3cret@p:3128",
        "ftp://p:1",
        "http://",
        "http://p:port/",
        "http://p:1/x",
    ],
)
@pytest.mark.parametrize("where", ["provider", "egress", "environment"])
def test_check(tmp_path: Path, url: str, where: str) -> None:
    text = yaml(
        "https://api.vendor.test",
        f', proxy: "{url}"' if where == "provider" else "",
        f'egress: {{proxy: "{url}"}}\n' if where == "egress" else "",
    )
    path = tmp_path / "gatehouse.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {"HTTPS_PROXY": url} if where == "environment" else {})
    shown = caught.value.render()
    assert "proxy" in shown.lower()
    assert "s3cret" not in shown
    if where == "environment":
        assert "HTTPS_PROXY" in shown


def test_a_bad_variable_does_not_matter_where_nothing_goes_out(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    for text in ("version: 1\n", yaml("http://127.0.0.1:1"), yaml("https://far.test", more="egress: {proxy: none}\n")):
        path.write_text(text)
        assert load(path, {"ALL_PROXY": "socks5://p:1"}).outbound.proxy_for("https://far.test") is None


@pytest.mark.parametrize("entry", ["a b", "http://x", "10.0.0.0/99", "x.*", ""])
def test_check_of_no_proxy(tmp_path: Path, entry: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(f"version: 1\negress: {{no_proxy: ['{entry}']}}\n")
    with pytest.raises(ConfigError):
        load(path, {})


@pytest.mark.report("http", "NO_PROXY accepts hosts, suffixes, networks, addresses, ports and *")
@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("example.com", "https://example.com/x", True),
        ("example.com", "https://API.example.com", True),
        ("example.com", "https://notexample.com", False),
        (".example.com", "https://api.example.com", True),
        ("*.example.com", "https://a.b.example.com", True),
        (".example.com", "https://example.com", False),
        ("a.test, b.test", "https://b.test", True),
        ("a.test b.test", "https://b.test", True),
        ("example.com:8443", "https://example.com:8443", True),
        ("example.com:8443", "https://example.com", False),
        ("example.com:443", "https://example.com", True),
        ("10.0.0.0/8", "http://10.1.2.3:8000", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.1", "http://10.0.0.1", True),
        ("10.0.0.1:80", "http://10.0.0.1", True),
        ("fd00::/8", "http://[fd00::1]:8000", True),
        ("[fd00::1]", "http://[fd00::1]:8000", True),
        ("fd00::1", "http://[fd00::1]:8000", True),
        ("*", "https://anything.test", True),
        ("", "http://[::1]:8000", True),
        ("", "http://127.9.9.9", True),
        ("", "http://localhost:8000", True),
        ("", "http://10.0.0.1", False),
        ("bad/entry", "https://bad", False),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        egress = from_environment({"ALL_PROXY": "http://proxy.test:3128", name: no_proxy})
        assert (egress.proxy_for(url) is None) == direct


def test_lower_case_comes_first_and_a_callers_header_never() -> None:
    both = {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2", "HTTP_PROXY": "http://cgi:3"}
    egress = from_environment({**both, "REQUEST_METHOD": "POST"})
    assert egress.https == read_proxy("lower:2")
    assert egress.http is None
    assert from_environment({}) == DIRECT


@pytest.fixture
def page() -> Iterator[Upstream]:
    upstream = Upstream(lambda request: response(b"a page", "text/plain"))
    yield upstream
    upstream.close()


@pytest.mark.report(
    "http", "Tools, rerankers, identity providers, web pages and webhooks use the same proxy as providers"
)
def test_other_calls_by_http(page: Upstream) -> None:
    proxy = Proxy(page.port)
    egress = Egress(read_proxy(f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"), None)
    url = "http://far.vendor.test:81/page?q=1"
    assert got(url, egress) == ("text/plain", "a page")
    assert web_items([url], egress)[0].load() == (b"a page", "text/plain")
    tell(url, {"event": "x"}, egress)
    proxy.close()
    assert proxy.tunnels == [f"{method} {url} HTTP/1.1" for method in ("GET", "GET", "POST")]
    assert all(BASIC in head for head in proxy.heads)
    assert [each.headers["host"] for each in page.requests] == ["far.vendor.test:81"] * 3


def test_other_calls_by_https(secure: SecureHost) -> None:
    proxy = Proxy(secure.port)
    egress = Egress(None, read_proxy(proxy.url))
    url = "https://api.vendor.test/page"
    assert got(url, egress)[1] == "a page"
    assert web_items([url], egress)[0].load()[0] == b"a page"
    tell(url, {"event": "x"}, egress)
    proxy.close()
    assert proxy.tunnels == ["CONNECT api.vendor.test:443 HTTP/1.1"] * 3


def test_other_calls_that_a_proxy_refuses() -> None:
    proxy = Proxy(9, b"HTTP/1.1 407 no\r\ncontent-length: 0\r\n\r\n")
    egress = Egress(read_proxy(f"http://{CREDENTIALS}127.0.0.1:{proxy.port}"), read_proxy(proxy.url))
    for url in ("http://far.test/", "https://far.test/"):
        with pytest.raises(FetchFailed, match=r"the proxy http://127\.0\.0\.1:[0-9]+ .*407") as failed:
            got(url, egress, private=True)
        with pytest.raises(UnreadableFile, match="407"):
            web_items([url], egress)[0].load()
        with pytest.raises(OSError, match="407"):
            tell(url, {}, egress)
        assert "s3cret" not in str(failed.value)
    proxy.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_mcp_servers_take_the_same_way_out(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(9, b"HTTP/1.1 407 no\r\ncontent-length: 0\r\n\r\n")
    way = read_proxy(f"http://{CREDENTIALS}127.0.0.1:{proxy.port}")
    # What its library would make of the environment.
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    server = McpServer("shop", f"{scheme}://mcp.vendor.test:81/mcp", {}, timeout_s=10, egress=Egress(way, way))
    with pytest.raises(FetchFailed):
        asyncio.run(server.tools([]))
    proxy.close()
    first = "POST http://mcp.vendor.test:81/mcp" if scheme == "http" else "CONNECT mcp.vendor.test:81"
    assert proxy.tunnels[0] == f"{first} HTTP/1.1"
    assert BASIC in proxy.heads[0]


def test_private_addresses_stay_out_of_reach_behind_a_proxy() -> None:
    proxy = Proxy(9)
    egress = Egress(read_proxy(proxy.url), read_proxy(proxy.url))
    with pytest.raises(FetchFailed, match="private"):
        got("http://10.0.0.1/", egress)
    proxy.close()
    assert proxy.heads == []


def test_traces_take_the_same_way_out(tmp_path: Path, far: Upstream) -> None:
    proxy = Proxy(far.port)
    text = yaml(far.url).replace('observe: {log: "off"}', 'observe: {log: "off", otlp: "http://collector.test:4318"}')
    with behind(proxy, text, tmp_path, {"HTTP_PROXY": proxy.url}) as gateway:
        assert ask(gateway)[0] == 200
        deadline = time.monotonic() + 15
        while not proxy.heads and time.monotonic() < deadline:
            time.sleep(0.05)
    assert proxy.tunnels[0] == "POST http://collector.test:4318/v1/traces HTTP/1.1"
