"""Public reports about secrets in files that are replaced while the gateway runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from tests.live import Gateway, running_gateway
from tests.reports.vendors import Upstream, plain

BODY = {"model": "o", "messages": [{"role": "user", "content": "hi"}]}


@contextmanager
def serving(folder: Path, reference: str, more: str = "") -> Iterator[tuple[Gateway, Upstream]]:
    upstream = Upstream(plain)
    yaml = (
        f'version: 1\nobserve: {{log: "off"}}\n'
        f'providers: {{o: {{kind: openai, base_url: "{upstream.url}/v1", api_key: "{reference}"}}}}\n'
        f"models: {{o: {{targets: [o/m]}}}}\n{more}"
    )
    with running_gateway(yaml, folder) as gateway:
        yield gateway, upstream
    upstream.close()


def key_in_use(gateway: Gateway, upstream: Upstream) -> str:
    assert gateway.request("POST", "/v1/chat/completions", BODY).status == 200
    return upstream.requests[-1].headers["authorization"].removeprefix("Bearer ")


def wait_for(gateway: Gateway, upstream: Upstream, key: str) -> None:
    deadline = time.monotonic() + 20
    while key_in_use(gateway, upstream) != key:
        assert time.monotonic() < deadline, f"{key} was not taken up"
        time.sleep(0.1)


@pytest.mark.report("operations", "A changed secret file is reloaded without a change to the YAML")
def test_a_file_that_is_written_again(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-key\n")
    with serving(tmp_path, "${file:secret}") as (gateway, upstream):
        assert key_in_use(gateway, upstream) == "first-key"
        secret.write_text("second-key\n")
        wait_for(gateway, upstream, "second-key")
        # As careful programs write: another file takes its place.
        (tmp_path / "new").write_text("third-key")
        (tmp_path / "new").replace(secret)
        wait_for(gateway, upstream, "third-key")


@pytest.mark.report("operations", "A mounted secret is reloaded when its symlink changes, as in Kubernetes")
def test_a_link_that_is_swapped(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    for version, key in (("..v1", "first-key"), ("..v2", "second-key")):
        (mount / version).mkdir(parents=True)
        (mount / version / "key").write_text(key)
    os.symlink("..v1", mount / "..data")
    os.symlink("..data/key", mount / "key")
    with serving(tmp_path, f"${{file:{mount}/key}}") as (gateway, upstream):
        assert key_in_use(gateway, upstream) == "first-key"
        os.symlink("..v2", mount / "..new")
        (mount / "..new").rename(mount / "..data")
        wait_for(gateway, upstream, "second-key")


@pytest.mark.report(
    "operations", "If a secret file becomes empty or invalid, the old secret stays in use and the log has an error"
)
@pytest.mark.parametrize("broken", [b"", b"\n", b"\xff\xfe\x00", b"two\nlines", b"x" * 70_000, None])
def test_a_broken_file(tmp_path: Path, broken: bytes | None, log: LogCapture) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-key")
    with serving(tmp_path, "${file:secret}") as (gateway, upstream):
        if broken is None:
            secret.unlink()
        else:
            secret.write_bytes(broken)
        deadline = time.monotonic() + 20
        while not (refused := [each for each in log.entries if "rejected" in each["event"]]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert refused[0]["log_level"] == "error"
        assert refused[0]["changed"] == [str(secret)]
        assert "providers.o.api_key" in refused[0]["problems"]
        assert "first-key" not in str(refused)
        assert key_in_use(gateway, upstream) == "first-key"
        secret.write_text("second-key")
        wait_for(gateway, upstream, "second-key")


@pytest.mark.report("operations", "A pipe in place of a secret file does not block a reload")
def test_a_pipe(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-key")
    with serving(tmp_path, "${file:secret}") as (gateway, upstream):
        secret.unlink()
        os.mkfifo(secret)
        time.sleep(1.5)
        assert key_in_use(gateway, upstream) == "first-key"
        (tmp_path / "new").write_text("second-key")
        (tmp_path / "new").replace(secret)
        wait_for(gateway, upstream, "second-key")


@pytest.mark.report("operations", "A secret file that is created after the YAML that names it is loaded")
def test_a_file_that_comes_later(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first-key")
    with serving(tmp_path, "${file:secret}") as (gateway, upstream):
        (yaml,) = tmp_path.glob("gatehouse-*.yaml")
        yaml.write_text(yaml.read_text().replace("file:secret", "file:later"))
        time.sleep(1.5)
        assert key_in_use(gateway, upstream) == "first-key"
        (tmp_path / "later").write_text("second-key")
        wait_for(gateway, upstream, "second-key")


def test_without_watch_no_file_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("first-key")
    with serving(tmp_path, "${file:secret}", "server: {watch: false}\n") as (gateway, upstream):
        (tmp_path / "secret").write_text("second-key")
        time.sleep(1.5)
        assert key_in_use(gateway, upstream) == "first-key"


@pytest.fixture
def log() -> Iterator[LogCapture]:
    capture = LogCapture()
    before = structlog.get_config()
    structlog.configure(processors=[capture], cache_logger_on_first_use=False)
    yield capture
    structlog.configure(**before)
