"""Limits the number of connections and how long each may be idle.

A timer per connection would cost as much as reading a request. So one timer checks all connections a few times within
the shortest deadline, and each connection compares its own timestamps with the shared clock.
"""

from __future__ import annotations

import asyncio
import heapq
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec
import structlog

from access.callers.keys import within

if TYPE_CHECKING:
    from collections.abc import Collection

    from config.sections import ServerConfig

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]

MAX_CHECK_INTERVAL_S = 1.0
MIN_CHECK_INTERVAL_S = 0.01
# When full, 1/32 of the idle connections is dropped at once, so that not every new connection scans all of them.
DROP_DIVISOR = 32
WARN_INTERVAL_S = 60.0


class Bounds(msgspec.Struct, frozen=True):
    """Connection limits. `min_bytes_per_s` is in bytes per second. Addresses in `proxies` have no limit per address."""

    head_s: float = 20.0
    body_s: float = 20.0
    write_s: float = 30.0
    idle_s: float = 75.0
    min_bytes_per_s: int = 1000
    max_connections: int = 10_000
    max_per_address: int = 5000
    proxies: Networks = ()


# Files that the process opens besides: databases, logs, the admin port. Each request also opens a provider connection.
RESERVED_FILES = 128
MAX_ADMIN_CONNECTIONS = 64


def connection_bounds(server: ServerConfig, files: int) -> Bounds:
    """`files` is the process's limit of open files."""
    max_connections = max(1, min(server.max_connections, (files - RESERVED_FILES) // 2))
    return Bounds(
        head_s=server.header_timeout,
        body_s=server.body_timeout,
        write_s=server.write_timeout,
        idle_s=server.idle_timeout,
        min_bytes_per_s=server.min_rate,
        max_connections=max_connections,
        max_per_address=min(max_connections, server.max_connections_per_address or max(1, max_connections // 2)),
        proxies=tuple([ip_network(each) for each in server.trusted_proxies]),
    )


def admin_bounds(bounds: Bounds) -> Bounds:
    """The limits for the admin API's port."""
    max_connections = min(bounds.max_connections, MAX_ADMIN_CONNECTIONS)
    return msgspec.structs.replace(bounds, max_connections=max_connections, max_per_address=max_connections)


class Connection(Protocol):
    """A connection, as `Connections` uses it."""

    address: str

    @property
    def idle_state(self) -> tuple[bool, float] | None:
        """None while a request is in flight; else whether the connection has had a request, and the idle start time."""
        ...

    def check_deadlines(self, now: float) -> None:
        """Closes the connection if a deadline has passed."""
        ...

    def drop(self) -> None:
        """Closes the connection immediately."""
        ...


class Connections:
    """The connections of one server. Bound to the event loop on which the first connection is opened.

    `now` is a clock in seconds that advances only with the timer: while the event loop is blocked, received bytes stay
    unread, and that time must not count against the caller.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now = 0.0
        self._open: dict[str, set[Connection]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._last_check = 0.0
        self._last_warning = -WARN_INTERVAL_S
        shortest = min(bounds.head_s, bounds.body_s, bounds.write_s, bounds.idle_s)
        self._check_interval_s = max(MIN_CHECK_INTERVAL_S, min(MAX_CHECK_INTERVAL_S, shortest / 4))

    def __len__(self) -> int:
        """The number of open connections."""
        return self._count

    def open(self, connection: Connection) -> bool:
        """Returns whether the connection is accepted. When full, drops the longest idle connections first."""
        bounds, address = self.bounds, connection.address
        neighbours = self._open.get(address, ())
        bounded = address and len(neighbours) >= bounds.max_per_address and not within(address, bounds.proxies)
        if bounded and not self._make_room(neighbours, address):
            return False
        if self._count >= bounds.max_connections:
            everything = [each for some in self._open.values() for each in some]
            if not self._make_room(everything):
                return False
        self._open.setdefault(address, set()).add(connection)
        self._count += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._last_check = loop.time()
            self._timer = loop.call_later(self._check_interval_s, self._check_all, loop)
        return True

    def close(self, connection: Connection) -> None:
        """Removes a closed connection. Idempotent."""
        neighbours = self._open.get(connection.address)
        if neighbours is None or connection not in neighbours:
            return
        neighbours.remove(connection)
        self._count -= 1
        if not neighbours:
            del self._open[connection.address]

    def _make_room(self, candidates: Collection[Connection], address: str = "") -> bool:
        idle = [(since, id(each), each) for each in candidates if (since := each.idle_state) is not None]
        if self.now >= self._last_warning + WARN_INTERVAL_S:
            self._last_warning = self.now
            problem = "too many connections" + (" from one address" if address else "")
            structlog.get_logger().warning(problem, address=address, open=len(candidates), idle=len(idle))
        for _, _, connection in heapq.nsmallest(max(1, len(idle) // DROP_DIVISOR), idle):
            self.close(connection)
            connection.drop()
        return bool(idle)

    def _check_all(self, loop: asyncio.AbstractEventLoop) -> None:
        before, self._last_check = self._last_check, loop.time()
        self.now += min(self._last_check - before, 2 * self._check_interval_s)
        for connection in [each for some in self._open.values() for each in some]:
            connection.check_deadlines(self.now)
        self._timer = loop.call_later(self._check_interval_s, self._check_all, loop) if self._count else None
