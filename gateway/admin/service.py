"""The state behind the admin API, and its access control."""

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
    """An administrator, identified by the key's name in the configuration."""

    name: str
    role: Role


class AdminService:
    """The admin state of one process. `config` returns the active config, so keys and roles follow a reload."""

    def __init__(self, runtime: Runtime, config: Callable[[], Config], reload: Callable[[], Awaitable[bool]]) -> None:
        self.runtime = runtime
        self.config = config
        self.reload = reload
        self._administration: Administration | None = None

    def needs(self, role: Role) -> Callable[[Request], Actor]:
        """A FastAPI dependency that requires this role or a higher one. `AuthMiddleware` sets the actor."""

        def require_role(request: Request) -> Actor:
            actor: Actor = request.state.actor
            if _ROLES.index(actor.role) < _ROLES.index(role):
                structlog.get_logger().warning("admin request refused", problem="role", actor=actor.name)
                raise HTTPException(403, f"This requires the role {role}; the key {actor.name} has {actor.role}")
            return actor

        return require_role

    def database(self) -> Database:
        """The database. Raises 409 without one."""
        database = self.runtime.resources.accounts.database
        if database is None:
            raise HTTPException(409, "There is no database: set server.database and restart")
        return database

    def administration(self) -> Administration:
        """The administration. Raises 409 without a database."""
        database = self.database()
        if self._administration is None:
            self._administration = Administration(self.config, database)
        return self._administration

    async def record(self, actor: Actor, action: str, subject: str, detail: dict[str, object]) -> None:
        """Writes to the log and, if there is one, to the audit log."""
        structlog.get_logger().info("admin action", actor=actor.name, action=action, subject=subject)
        audit = self.runtime.resources.accounts.audit
        if audit is not None:
            await audit.record(actor.name, action, subject, detail)

    def identify(self, request: Request) -> Actor:
        """Identifies the administrator. Raises `HTTPException`."""
        admin = self.config().admin
        if not admin.keys:
            raise HTTPException(404, "Not Found")
        address = request.client.host if request.client is not None else ""
        if admin.networks and not within(address, map(ipaddress.ip_network, admin.networks)):
            structlog.get_logger().warning("admin request refused", problem="network", address=address)
            raise HTTPException(403, "The admin API does not accept requests from this address (admin.networks)")
        if len(request.headers.getlist("authorization")) > 1:
            raise HTTPException(400, "The request contains two authorization headers: send one")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        key_hash = hash_key(key.strip()) if scheme.lower() == "bearer" and key.strip() else ""
        # Compares hashes, so that timing reveals nothing about a guessed key.
        match = next(((name, each) for name, each in admin.keys.items() if each.key.digest() == key_hash), None)
        if match is None:
            structlog.get_logger().warning("admin request refused", problem="key", address=address)
            raise HTTPException(401, "Send an admin key: authorization: Bearer ...", {"www-authenticate": "Bearer"})
        return Actor(match[0], match[1].role)
