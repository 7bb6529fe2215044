"""How many connections there may be and how long each may be silent: one book, and one look at all of them at a time.

A timer for each connection would cost as much as reading a request. So the book has the only one: it goes round a few
times within the shortest deadline, and each connection compares its own marks with the book's clock.
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

LONGEST_PAUSE_S = 1.0
SHORTEST_PAUSE_S = 0.01
# Room is made for several at once: whoever knocks at a full house does not make us look at everybody each time.
SHARE_DROPPED = 32
SAID_AGAIN_S = 60.0


class Bounds(msgspec.Struct, frozen=True):
    """`slowest` in bytes a second. Those in `proxies` stand for many callers: they share no bound per address."""

    head_s: float = 20.0
    body_s: float = 20.0
    write_s: float = 30.0
    idle_s: float = 75.0
    slowest: int = 1000
    most: int = 10_000
    most_per_address: int = 5000
    proxies: Networks = ()


# What the process opens besides: databases, logs, the admin port, and one call to a provider for each request.
FILES_OF_OURS = 128
MOST_OF_ADMIN = 64


def bounds_of(server: ServerConfig, files: int) -> Bounds:
    """`files` is how many the process may have open."""
    most = max(1, min(server.max_connections, (files - FILES_OF_OURS) // 2))
    return Bounds(
        head_s=server.header_timeout,
        body_s=server.body_timeout,
        write_s=server.write_timeout,
        idle_s=server.idle_timeout,
        slowest=server.min_rate,
        most=most,
        most_per_address=min(most, server.max_connections_per_address or max(1, most // 2)),
        proxies=tuple([ip_network(each) for each in server.trusted_proxies]),
    )


def bounds_of_admin(bounds: Bounds) -> Bounds:
    """The same for the admin API's own port."""
    most = min(bounds.most, MOST_OF_ADMIN)
    return msgspec.structs.replace(bounds, most=most, most_per_address=most)


class Connection(Protocol):
    """As the book sees one."""

    address: str

    @property
    def silent(self) -> tuple[bool, float] | None:
        """None while a request is under way; else whether there ever was one, and since when there is none."""
        ...

    def look(self, now: float) -> None:
        """Ends itself if it has been waited for too long."""
        ...

    def drop(self) -> None:
        """Ends at once."""
        ...


class Connections:
    """Those of one server. Belongs to the loop on which the first is opened.

    `now` is a clock in seconds that stands still while nobody looks: when the loop is held, what has come meanwhile
    lies unread, and no caller is to blame.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.now = 0.0
        self._open: dict[str, set[Connection]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._looked = 0.0
        self._said = -SAID_AGAIN_S
        shortest = min(bounds.head_s, bounds.body_s, bounds.write_s, bounds.idle_s)
        self._pause_s = max(SHORTEST_PAUSE_S, min(LONGEST_PAUSE_S, shortest / 4))

    def __len__(self) -> int:
        """How many are open."""
        return self._count

    def open(self, connection: Connection) -> bool:
        """Whether it may stay. Where there is no room, the longest silent ones go first."""
        bounds, address = self.bounds, connection.address
        neighbours = self._open.get(address, ())
        bounded = address and len(neighbours) >= bounds.most_per_address and not within(address, bounds.proxies)
        if bounded and not self._make_room(neighbours, address):
            return False
        if self._count >= bounds.most and not self._make_room([each for some in self._open.values() for each in some]):
            return False
        self._open.setdefault(address, set()).add(connection)
        self._count += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._looked = loop.time()
            self._timer = loop.call_later(self._pause_s, self._look, loop)
        return True

    def close(self, connection: Connection) -> None:
        """It is gone. Idempotent."""
        neighbours = self._open.get(connection.address)
        if neighbours is None or connection not in neighbours:
            return
        neighbours.remove(connection)
        self._count -= 1
        if not neighbours:
            del self._open[connection.address]

    def _make_room(self, among: Collection[Connection], address: str = "") -> bool:
        silent = [(since, id(each), each) for each in among if (since := each.silent) is not None]
        if self.now >= self._said + SAID_AGAIN_S:
            self._said = self.now
            problem = "too many connections" + (" of one address" if address else "")
            structlog.get_logger().warning(problem, address=address, open=len(among), silent=len(silent))
        for _, _, each in heapq.nsmallest(max(1, len(silent) // SHARE_DROPPED), silent):
            self.close(each)
            each.drop()
        return bool(silent)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        before, self._looked = self._looked, loop.time()
        self.now += min(self._looked - before, 2 * self._pause_s)
        for connection in [each for some in self._open.values() for each in some]:
            connection.look(self.now)
        self._timer = loop.call_later(self._pause_s, self._look, loop) if self._count else None
