"""Several processes that serve on one port: the parent, which keeps them running, and the workers.

The parent binds the port and passes on the socket. A socket pair (the line) connects it to each worker: the worker
reports on it that it serves, and its end of file tells the worker that the parent is gone, for whatever reason.
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
CHECK_INTERVAL_S = 0.25
STABLE_S = 10.0
# A start may be slow on a busy machine: a worker that is alive after this time counts as serving.
ASSUME_SERVING_S = 60.0
MIN_RESTART_DELAY_S = 0.25
MAX_RESTART_DELAY_S = 5.0
KILL_AFTER_DRAIN_S = 5.0
MAX_FAILED_STARTS = 3
BAD_CONFIG = 2
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Worker(msgspec.Struct, frozen=True):
    """The values that a worker gets from its parent."""

    number: int
    count: int
    folder: Path
    listener: socket.socket


def this_worker(environ: Mapping[str, str] = os.environ) -> Worker | None:
    """This process's worker; None without a parent. Call it once: the caller then owns the listener."""
    if SOCKET_FD not in environ:
        return None
    listener = socket.socket(fileno=int(environ[SOCKET_FD]))
    # A program that a worker starts must not inherit the port.
    listener.set_inheritable(False)
    return Worker(int(environ[NUMBER]), int(environ[COUNT]), Path(environ[FOLDER]), listener)


def watch_parent(environ: Mapping[str, str] = os.environ, grace_s: float = 35.0) -> threading.Thread | None:
    """Sends SIGTERM to this process when the parent is gone, and SIGKILL `grace_s` later if it is still running."""
    if LINE_FD not in environ:
        return None
    line = int(environ[LINE_FD])
    os.set_inheritable(line, False)
    thread = threading.Thread(target=_end_with_parent, args=(line, grace_s), name="parent-watch", daemon=True)
    thread.start()
    return thread


def notify_serving(environ: Mapping[str, str] = os.environ) -> None:
    """Notifies the parent that this worker serves requests and handles SIGHUP."""
    if LINE_FD in environ:
        # The parent may be gone; the watch thread handles that.
        with contextlib.suppress(OSError):
            os.write(int(environ[LINE_FD]), b"s")


def _end_with_parent(line: int, grace_s: float) -> None:
    # The parent never writes, so the read returns at the end of file.
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

    0: a clean end. 1: the port is unavailable, or a worker had to be killed. 2: an invalid config. Otherwise the exit
    code of workers that failed to serve in three starts. Requires the main thread because of its signal handlers.
    """
    try:
        listener = _bind(host, port)
    except OSError as error:
        sys.stderr.write(f"gatehouse: can't listen on {host}:{port}: {error.strerror or error}\n")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="gatehouse-"))
    base = {**environ, COUNT: str(count), FOLDER: str(folder), SOCKET_FD: str(listener.fileno())}
    structlog.get_logger().info("workers listening", address=listener.getsockname()[:2], workers=count)
    slots = [_Slot(number, command, base, listener.fileno()) for number in range(1, count + 1)]
    try:
        return _Supervisor(slots, listener, drain_s).run()
    finally:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


def _bind(host: str, port: int) -> socket.socket:
    addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # `localhost` often resolves to IPv4 and IPv6. There is one socket, and callers that try only one use IPv4.
    family, kind, protocol, _, address = min(addresses, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Like asyncio for a single process.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class _Slot:
    """A worker's slot: its current process, and when to start the next one."""

    def __init__(self, number: int, command: Sequence[str], environ: Mapping[str, str], listener: int) -> None:
        self.number = number
        self.serves = False
        self.failed_starts = 0
        self.reload = False
        self.restart_at = 0.0
        self._command = command
        self._environ = environ
        self._listener = listener
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._started = 0.0
        self._early_exits = 0

    @property
    def running(self) -> bool:
        """Whether the slot has a process that has not been reaped."""
        return self._process is not None

    def start(self) -> int | None:
        """Starts a new process. Returns an exit code if it can't be started."""
        parent_end, worker_end = socket.socketpair()
        parent_end.setblocking(False)
        self._line, self._started, self.serves, self.reload = parent_end, time.monotonic(), False, False
        environ = {**self._environ, NUMBER: str(self.number), LINE_FD: str(worker_end.fileno())}
        try:
            # A separate process group: Ctrl-C reaches only the parent, which then stops the workers.
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own command
                self._command,
                env=environ,
                pass_fds=(self._listener, worker_end.fileno()),
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        except OSError as error:
            structlog.get_logger().error("worker can't be started", worker=self.number, problem=str(error))
            self._record_exit()
            return 1
        finally:
            worker_end.close()
        structlog.get_logger().info("worker started", worker=self.number, pid=self._process.pid)
        return None

    def poll(self) -> int | None:
        """Reads the worker's state. Returns its exit code once it has ended."""
        if self._process is None:
            return None
        code = self._process.poll()
        with contextlib.suppress(OSError):
            if self._line is not None and self._line.recv(16):
                self.serves = True
        if time.monotonic() - self._started >= ASSUME_SERVING_S:
            # The worker has reported nothing, but is alive.
            self.serves = True
        if code is None and self.serves:
            self.failed_starts = 0
            if self.reload:
                self.reload = False
                self.send(signal.SIGHUP)
        if code is not None:
            self._record_exit()
        return code

    def send(self, number: int) -> None:
        """Sends a signal, if there is a process."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kills the worker and the programs it started, and waits."""
        if self._process is not None:
            if self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._record_exit()

    def _record_exit(self) -> None:
        if self._line is not None:
            self._line.close()
        self._process = self._line = None
        self.failed_starts = 0 if self.serves else self.failed_starts + 1
        if time.monotonic() - self._started >= STABLE_S:
            self._early_exits = 0
        pause = 0.0
        if self._early_exits:
            pause = min(MAX_RESTART_DELAY_S, MIN_RESTART_DELAY_S * 2 ** (self._early_exits - 1))
        # Bounded, so that the power of two can't overflow.
        self._early_exits = min(self._early_exits + 1, 16)
        self.restart_at = time.monotonic() + pause


class _Supervisor:
    """Keeps a worker running in each slot until a signal."""

    def __init__(self, slots: Sequence[_Slot], listener: socket.socket, drain_s: float) -> None:
        self._slots = slots
        self._listener = listener
        self._drain_s = drain_s
        self._log = structlog.get_logger()
        self._served = False
        self._code = 0
        self._kill_at: float | None = None

    def run(self) -> int:
        """Runs until the last worker has ended after a signal or a failure. Returns the exit code."""
        with _signals() as signals:
            try:
                while self._kill_at is None or any(slot.running for slot in self._slots):
                    self._check_slots()
                    for number in _wait(signals, self._wait_time()):
                        self._handle_signal(number)
            finally:
                # Even after an error here, no worker is left running.
                for slot in self._slots:
                    slot.kill()
        return self._code

    def _check_slots(self) -> None:
        for slot in self._slots:
            code = slot.poll()
            self._served = self._served or slot.serves
            if code is not None and self._kill_at is None:
                self._handle_exit(slot, code)
        for slot in self._slots:
            if self._kill_at is None and not slot.running and time.monotonic() >= slot.restart_at:
                code = slot.start()
                if code is not None:
                    self._handle_exit(slot, code)
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()

    def _handle_exit(self, slot: _Slot, code: int) -> None:
        """Handles a worker that has ended unexpectedly."""
        pause = max(0.0, slot.restart_at - time.monotonic())
        self._log.error("worker ended", worker=slot.number, code=code, again_in_s=round(pause, 2))
        if code == BAD_CONFIG and not self._served:
            self._stop(BAD_CONFIG)
        elif all(each.failed_starts >= MAX_FAILED_STARTS for each in self._slots):
            self._log.error("no worker became ready, giving up", code=code)
            # A signal becomes an exit code as in a shell; a code of 0 becomes 1, because this is a failure.
            self._stop(128 - code if code < 0 else code or 1)

    def _handle_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            for slot in self._slots:
                # Deferred, because SIGHUP would kill a worker that is still starting.
                slot.reload = True
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._kill_at is not None:
                self._kill()
                return
            self._log.info("workers stopping", signal=signal.Signals(number).name)
            self._stop(0)

    def _stop(self, code: int) -> None:
        self._code = code
        self._kill_at = time.monotonic() + self._drain_s + KILL_AFTER_DRAIN_S
        # New connections are then refused instead of waiting in a queue that no worker serves.
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

    def _wait_time(self) -> float:
        if self._kill_at is not None:
            return CHECK_INTERVAL_S
        restart_at = min((slot.restart_at for slot in self._slots if not slot.running), default=float("inf"))
        return max(0.0, min(CHECK_INTERVAL_S, restart_at - time.monotonic()))


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Returns a socket that receives signal numbers as bytes; the signals have no other effect meanwhile."""
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    before: dict[int, Any] = {number: signal.signal(number, _ignore) for number in SIGNALS}
    try:
        yield receiver
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        receiver.close()
        sender.close()


def _ignore(number: int, frame: object) -> None:
    """Does nothing. Python writes to the wakeup socket only for signals with a handler."""


def _wait(signals: socket.socket, seconds: float) -> bytes:
    # The death of a child is also a signal (SIGCHLD), so its slot is refilled immediately.
    select.select((signals,), (), (), seconds)
    with contextlib.suppress(BlockingIOError):
        return signals.recv(4096)
    return b""
