"""Several processes that serve on one port: the parent's part, which keeps them running, and the worker's.

The parent binds the port and passes the socket on. A line (a pair of sockets) leads from it to each worker: the
worker says on it that it serves, and sees from its end that the parent is gone, however that happened.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SOCKET_FD = "GATEHOUSE_SOCKET_FD"
NUMBER = "GATEHOUSE_WORKER"
COUNT = "GATEHOUSE_WORKERS"
FOLDER = "GATEHOUSE_WORKER_FOLDER"
LINE_FD = "GATEHOUSE_WORKER_LINE_FD"

BACKLOG = 4096
LOOK_S = 0.25
STEADY_S = 10.0
# A start may take long on a busy machine: who has said nothing for so long, and lives, is taken to serve.
SILENT_S = 60.0
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 5.0
KILL_AFTER_DRAIN_S = 5.0
MAX_FAILED_STARTS = 3
BAD_CONFIG = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Worker(msgspec.Struct, frozen=True):
    """What a worker was given by its parent."""

    number: int
    count: int
    folder: Path
    listener: socket.socket


def this_worker(environ: Mapping[str, str] = os.environ) -> Worker | None:
    """None in a process that no parent started. Call it once: the listener is the caller's from then on."""
    if SOCKET_FD not in environ:
        return None
    listener = socket.socket(fileno=int(environ[SOCKET_FD]))
    # A program that a worker starts must not keep the port.
    listener.set_inheritable(False)
    return Worker(int(environ[NUMBER]), int(environ[COUNT]), Path(environ[FOLDER]), listener)


def watch_parent(environ: Mapping[str, str] = os.environ, grace_s: float = 35.0) -> threading.Thread | None:
    """Sends SIGTERM to this process when the parent is gone, and SIGKILL `grace_s` later if it is still there."""
    if LINE_FD not in environ:
        return None
    line = int(environ[LINE_FD])
    os.set_inheritable(line, False)
    thread = threading.Thread(target=_end_with_parent, args=(line, grace_s), name="parent-watch", daemon=True)
    thread.start()
    return thread


def tell_serving(environ: Mapping[str, str] = os.environ) -> None:
    """Tells the parent that this worker takes requests, and can take SIGHUP."""
    if LINE_FD in environ:
        # The parent may be gone; then the watch knows.
        with contextlib.suppress(OSError):
            os.write(int(environ[LINE_FD]), b"s")


def _end_with_parent(line: int, grace_s: float) -> None:
    # The parent never writes: whatever comes is the end.
    with contextlib.suppress(OSError):
        os.read(line, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    os.kill(os.getpid(), signal.SIGKILL)


def supervise(
    command: Sequence[str],
    host: str,
    port: int,
    count: int,
    drain_s: float,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Runs `count` processes of `command` that share the port, until SIGTERM or SIGINT. Returns the exit code.

    0 is a clean end, 1 a port that can't be had or a worker that had to be killed, 2 a bad config; else it is the
    code of workers that did not come to serve in three starts. Needs the main thread, for its signals.
    """
    try:
        listener = _bind(host, port)
    except OSError as error:
        sys.stderr.write(f"gatehouse: can't listen on {host}:{port}: {error.strerror or error}\n")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-"))
    base = {**environ, COUNT: str(count), FOLDER: str(folder), SOCKET_FD: str(listener.fileno())}
    structlog.get_logger().info("workers listen", address=listener.getsockname()[:2], workers=count)
    slots = [_Slot(number, command, base, listener.fileno()) for number in range(1, count + 1)]
    try:
        return _Supervisor(slots, listener, drain_s).run()
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # `localhost` is often both; there is one socket, and callers that try only one of them try IPv4.
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As asyncio does for a single process.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class _Slot:
    """A worker's place: the process that has it now, and when there will be a next one."""

    def __init__(self, number: int, command: Sequence[str], environ: Mapping[str, str], listener: int) -> None:
        self.number = number
        self.serves = False
        self.failed_starts = 0
        self.reload = False
        self.due = 0.0
        self._command = command
        self._environ = environ
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._started = 0.0
        self._quick_deaths = 0

    @property
    def running(self) -> bool:
        """Whether there is a process that has not been reaped."""
        return self._process is not None

    def start(self) -> int | None:
        """A new process. Returns the code it ended with if it can't even be started."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._line, self._started, self.serves, self.reload = ours, time.monotonic(), False, False
        environ = {**self._environ, NUMBER: str(self.number), LINE_FD: str(theirs.fileno())}
        try:
            # A group of its own: Ctrl-C is for the parent, which then tells the workers in its way.
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own command
                self._command,
                env=environ,
                pass_fds=(self._listener, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            structlog.get_logger().error("worker can't be started", worker=self.number, problem=str(error))
            self._died()
            return 1
        finally:
            theirs.close()
        structlog.get_logger().info("worker started", worker=self.number, pid=self._process.pid)
        return None

    def look(self) -> int | None:
        """Hears what it has to say. Returns its exit code once it has ended."""
        if self._process is None:
            return None
        code = self._process.poll()
        with contextlib.suppress(OSError):
            if self._line is not None and self._line.recv(16):
                self.serves = True
        if time.monotonic() - self._started >= SILENT_S:
            # One that does not speak, but lives.
            self.serves = True
        if code is None and self.serves:
            self.failed_starts = 0
            if self.reload:
                self.reload = False
                self.send(signal.SIGHUP)
        if code is not None:
            self._died()
        return code

    def send(self, number: int) -> None:
        """A signal, if there is a process."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it and the programs it started, and waits."""
        if self._process is not None:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._died()

    def _died(self) -> None:
        if self._line is not None:
            self._line.close()
        self._process = self._line = None
        self.failed_starts = 0 if self.serves else self.failed_starts + 1
        if time.monotonic() - self._started >= STEADY_S:
            self._quick_deaths = 0
        pause = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._quick_deaths - 1)) if self._quick_deaths else 0.0
        # No number of deaths may make the power too great.
        self._quick_deaths = min(self._quick_deaths + 1, 16)
        self.due = time.monotonic() + pause


class _Supervisor:
    """Keeps the slots full until it is told to end."""

    def __init__(self, slots: Sequence[_Slot], listener: socket.socket, drain_s: float) -> None:
        self._slots = slots
        self._listener = listener
        self._drain_s = drain_s
        self._log = structlog.get_logger()
        self._served = False
        self._code = 0
        self._kill_at: float | None = None

    def run(self) -> int:
        """Until the last worker has ended after a signal or a failure. Returns the exit code."""
        with _signals() as arrived:
            try:
                while self._kill_at is None or any(slot.running for slot in self._slots):
                    self._look()
                    for number in _wait(arrived, self._patience()):
                        self._obey(number)
            finally:
                # Whatever went wrong here: nobody is left behind.
                for slot in self._slots:
                    slot.kill()
        return self._code

    def _look(self) -> None:
        for slot in self._slots:
            code = slot.look()
            self._served = self._served or slot.serves
            if code is not None and self._kill_at is None:
                self._lost(slot, code)
        for slot in self._slots:
            if self._kill_at is None and not slot.running and time.monotonic() >= slot.due:
                code = slot.start()
                if code is not None:
                    self._lost(slot, code)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()

    def _lost(self, slot: _Slot, code: int) -> None:
        """A worker has ended unasked."""
        pause = max(0.0, slot.due - time.monotonic())
        self._log.error("worker ended", worker=slot.number, code=code, again_in_s=round(pause, 2))
        if code == BAD_CONFIG and not self._served:
            self._stop(BAD_CONFIG)
        elif all(each.failed_starts >= MAX_FAILED_STARTS for each in self._slots):
            self._log.error("no worker comes to serve, giving up", code=code)
            # A signal's number as a shell says it; and whoever gives up has not succeeded.
            self._stop(128 - code if code < 0 else code or 1)

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            for slot in self._slots:
                # Not at once: a worker that still starts would die of it.
                slot.reload = True
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._kill_at is not None:
                self._kill()
                return
            self._log.info("workers end", signal=signal.Signals(number).name)
            self._stop(0)

    def _stop(self, code: int) -> None:
        self._code = code
        self._kill_at = time.monotonic() + self._drain_s + KILL_AFTER_DRAIN_S
        # Callers are refused once no worker listens, and do not wait in a queue that nobody serves.
        self._listener.close()
        for slot in self._slots:
            slot.send(signal.SIGTERM)

    def _kill(self) -> None:
        left = [slot for slot in self._slots if slot.running]
        if left:
            self._log.error("workers killed", workers=[slot.number for slot in left])
            self._code = self._code or 1
        for slot in left:
            slot.kill()

    def _patience(self) -> float:
        if self._kill_at is not None:
            return LOOK_S
        due = min((slot.due for slot in self._slots if not slot.running), default=float("inf"))
        return max(0.0, min(LOOK_S, due - time.monotonic()))


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Where the numbers of signals arrive, as bytes; they do nothing else meanwhile."""
    arrived, told = socket.socketpair()
    arrived.setblocking(False)
    told.setblocking(False)
    wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    before: dict[int, Any] = {number: signal.signal(number, _nothing) for number in SIGNALS}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        arrived.close()
        told.close()


def _nothing(number: int, frame: object) -> None:
    """Python only wakes us for signals that have a handler."""


def _wait(arrived: socket.socket, seconds: float) -> bytes:
    # A child's death is a signal too, so that its place is filled at once.
    select.select((arrived,), (), (), seconds)
    with contextlib.suppress(BlockingIOError):
        return arrived.recv(4096)
    return b""
