"""What the admin API works on, and who may use it."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
import structlog
from fastapi import HTTPException, Request

from access.callers.keys import within
from config.access import Role
from config.secret import hash_key
from gateway.admin.administration import Administration

if TYPE_CHECKING:
    from access.database.store import Database
    from config.root import Config
    from gateway.engine.runtime import Runtime

_ROLES: tuple[Role, ...] = ("viewer", "admin", "owner")


class Actor(msgspec.Struct, frozen=True):
    """An administrator, by the name of the key in the configuration."""

    name: str
    role: Role


class AdminService:
    """One process's. `config` gives what serves now, so keys and roles follow a reload."""

    def __init__(self, runtime: Runtime, config: Callable[[], Config], reload: Callable[[], Awaitable[bool]]) -> None:
        self.runtime = runtime
        self.config = config
        self.reload = reload
        self._administration: Administration | None = None

    def needs(self, role: Role) -> Callable[[Request], Actor]:
        """A dependency that lets in who has this role or a higher one, behind the `Door`."""

        def let_in(request: Request) -> Actor:
            actor: Actor = request.state.actor
            if _ROLES.index(actor.role) < _ROLES.index(role):
                structlog.get_logger().warning("an administrator was refused", problem="role", actor=actor.name)
                raise HTTPException(403, f"This needs the role {role}; the key {actor.name} has the role {actor.role}")
            return actor

        return let_in

    def database(self) -> Database:
        """Raises 409 where there is none."""
        found = self.runtime.resources.accounts.database
        if found is None:
            raise HTTPException(409, "There is no database: set server.database, and start again")
        return found

    def administration(self) -> Administration:
        """Raises 409 where there is no database."""
        database = self.database()
        if self._administration is None:
            self._administration = Administration(self.config, database)
        return self._administration

    async def record(self, actor: Actor, action: str, subject: str, detail: dict[str, object]) -> None:
        """Into the audit, where there is one; into the log in any case."""
        structlog.get_logger().info("administrated", actor=actor.name, action=action, subject=subject)
        audit = self.runtime.resources.accounts.audit
        if audit is not None:
            await audit.record(actor.name, action, subject, detail)

    def identify(self, request: Request) -> Actor:
        """Who asks. Raises `HTTPException`."""
        admin = self.config().admin
        if not admin.keys:
            raise HTTPException(404, "Not Found")
        where = request.client.host if request.client is not None else ""
        if admin.networks and not within(where, map(ipaddress.ip_network, admin.networks)):
            structlog.get_logger().warning("an administrator was refused", problem="network", address=where)
            raise HTTPException(403, "The admin API may not be used from where the request comes from")
        if len(request.headers.getlist("authorization")) > 1:
            raise HTTPException(400, "There are two authorization headers")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        shown = hash_key(key.strip()) if scheme.lower() == "bearer" and key.strip() else ""
        # Hashes are compared, and those tell nobody who guesses how near he is.
        found = next(((name, each) for name, each in admin.keys.items() if each.key.digest() == shown), None)
        if found is None:
            structlog.get_logger().warning("an administrator was refused", problem="key", address=where)
            raise HTTPException(401, "Send an admin key: authorization: Bearer ...", {"www-authenticate": "Bearer"})
        return Actor(found[0], found[1].role)
