"""Validated management of keys, apps, teams and organisations in the database.

The command line and the admin API both use it. Entries declared in the YAML are read-only.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from access.callers.directory import check_key_options, check_options, read_key_options
from access.callers.errors import Conflict, NotFound
from access.opening import pepper_of
from config.secret import masked
from contract.units import parse_duration

if TYPE_CHECKING:
    from access.callers.stored_keys import StoredKey
    from access.database.store import Database
    from config.root import Config

Kind: TypeAlias = Literal["organisation", "team", "app"]
KINDS: tuple[Kind, ...] = ("organisation", "team", "app")
# The parent that must exist first; the option with this name contains the parent's name.
_PARENTS: dict[str, Kind] = {"team": "organisation", "app": "team"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
# The number of characters to show of unreadable options.
_MAX_SHOWN_CHARS = 200
MAX_LIFETIME_S = 10 * 366 * 86_400


@dataclass(frozen=True)
class KeyView:
    """A key's record for administrators, without the key itself. Times are in UTC, empty for never.

    `state` is good, expired, revoked or unreadable.
    """

    id: str
    app: str
    name: str
    state: str
    created: str
    expires: str
    revoked: str
    replaces: str
    options: dict[str, Any]


@dataclass(frozen=True)
class PartyView:
    """An organisation, team or app. `source` is "config" for those that can only be changed in the YAML."""

    kind: str
    name: str
    source: str
    options: dict[str, Any]


class Administration:
    """Manages callers. Raises `NotFound`, `Conflict`, and `ValueError` for invalid input."""

    def __init__(
        self, config: Callable[[], Config], database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        """`config` returns the active config. Raises `ValueError` for an invalid pepper."""
        from access.callers.registry import Registry
        from access.database.audit import Audit

        self._config = config
        self._clock = clock
        self.database = database
        self.audit = Audit(database)
        self._registry = Registry(database, pepper_of(config().server), self.audit)

    async def create_key(
        self, actor: str, app: str, name: str = "", expires: str = "", options: Mapping[str, Any] | None = None
    ) -> tuple[KeyView, str]:
        """Returns (the key's record, the key, which is returned only here). `expires` is a time or a duration."""
        if await self._options("app", app) is None:
            raise NotFound(f"there is no app {app[:128]}; known apps: {', '.join(await self._names('app')) or 'none'}")
        restrictions = check_key_options(options or {}, self._config().surfaces)
        self._check_names(json.loads(restrictions))
        if len(name) > 128 or not name.isprintable():
            raise ValueError("name: must be up to 128 printable characters")
        declared = app in _declared(self._config(), "app")
        record, key = await self._registry.create_key(
            actor, app, name, restrictions, self._expiry_ms(expires), declared=declared
        )
        return self._view(record), key

    async def rotate_key(
        self, actor: str, identity: str, overlap: str = "24h", expires: str = ""
    ) -> tuple[KeyView, str]:
        """Creates a new key; the old one stays valid for `overlap`. Without `expires`, the old key's expiry applies."""
        try:
            overlap_s = 0.0 if overlap == "0" else parse_duration(overlap)
        except ValueError:
            raise ValueError(f"overlap: {overlap[:40]!r} is not a duration; use a value like 24h, or 0") from None
        record, key = await self._registry.rotate_key(actor, identity, overlap_s, self._expiry_ms(expires))
        return self._view(record), key

    async def revoke_key(self, actor: str, identity: str) -> None:
        """Revokes a key. Every replica refuses it within a second."""
        await self._registry.revoke_key(actor, identity)

    async def keys(self, app: str = "") -> list[KeyView]:
        """The keys in the database, the newest first."""
        return [self._view(each) for each in await self._registry.keys(app)]

    async def parties(self, kind: Kind) -> list[PartyView]:
        """The entries in the YAML, then those in the database, sorted by name."""
        declared = _declared(self._config(), kind)
        stored = [each for each in await self._registry.parties(kind) if each.name not in declared]
        views = [PartyView(kind, name, "config", _config_options(each)) for name, each in sorted(declared.items())]
        return views + [PartyView(kind, each.name, "database", masked(_read_options(each.options))) for each in stored]

    async def party(self, kind: Kind, name: str) -> PartyView:
        """One entry. Raises `NotFound`."""
        party = next((each for each in await self.parties(kind) if each.name == name), None)
        if party is None:
            raise NotFound(f"there is no {kind} {name[:128]}")
        return party

    async def put_party(self, actor: str, kind: Kind, name: str, options: Mapping[str, Any], *, new: bool) -> PartyView:
        """Adds an entry to the database (`new`), or changes one."""
        if _NAME.match(name) is None:
            raise ValueError(
                "name: must be up to 128 letters, digits and any of . _ -, and start with a letter or a digit"
            )
        self._check_not_declared(kind, name)
        validated = check_options(kind, options, self._config())
        parent = _PARENTS.get(kind)
        named = options.get(parent) if parent is not None else None
        if parent is not None and named is not None and await self._options(parent, named) is None:
            raise ValueError(f"{parent}: there is no {parent} {str(named)[:128]}")
        await self._registry.put_party(actor, kind, name, validated, new=new)
        return PartyView(kind, name, "database", masked(json.loads(validated)))

    async def remove_party(self, actor: str, kind: Kind, name: str) -> None:
        """Removes an entry from the database, and revokes the keys of an app."""
        self._check_not_declared(kind, name)
        child = next((each for each, parent in _PARENTS.items() if parent == kind), None)
        if child is not None:
            for each in await self.parties(child):  # type: ignore[arg-type]
                if each.options.get(kind) == name:
                    raise Conflict(f"the {child} {each.name} belongs to this {kind}: remove or move it first")
        await self._registry.remove_party(actor, kind, name)

    def _check_not_declared(self, kind: Kind, name: str) -> None:
        if name in _declared(self._config(), kind):
            raise Conflict(f"the {kind} {name} is in the configuration file: change it there")

    async def _options(self, kind: Kind, name: object) -> object:
        if not isinstance(name, str):
            return None
        declared = _declared(self._config(), kind)
        if name in declared:
            return declared[name]
        return next((each for each in await self._registry.parties(kind) if each.name == name), None)

    async def _names(self, kind: Kind) -> list[str]:
        return [each.name for each in await self.parties(kind)][:20]

    def _check_names(self, options: Mapping[str, list[str]]) -> None:
        config = self._config()
        for section in ("models", "pipelines", "sources"):
            known: Mapping[str, object] = getattr(config, section)
            for each in options.get(section, ()):
                if each not in known:
                    raise ValueError(f"{section}: there is no {each[:128]}; known: {', '.join(known) or 'none'}")

    def _expiry_ms(self, expires: str) -> int:
        """The expiry in milliseconds since 1970, 0 for never."""
        if not expires:
            return 0
        now = self._clock()
        end = _read_expiry(expires, now)
        if end <= now:
            raise ValueError(f"expires: {expires[:40]} is in the past")
        if end > now + MAX_LIFETIME_S:
            raise ValueError("expires: at most ten years are allowed; omit it for a key that never expires")
        return int(end * 1000)

    def _view(self, record: StoredKey) -> KeyView:
        now_ms = self._clock() * 1000
        options = read_key_options(record.options, self._config().surfaces)
        state = "good" if options is not None else "unreadable"
        if record.revoked_ms and record.revoked_ms <= now_ms:
            state = "revoked"
        elif record.expires_ms and record.expires_ms <= now_ms:
            state = "expired"
        return KeyView(
            record.id,
            record.app,
            record.name,
            state,
            written_time(record.created_ms),
            written_time(record.expires_ms),
            written_time(record.revoked_ms),
            record.replaces,
            options if options is not None else {"unreadable": record.options[:_MAX_SHOWN_CHARS]},
        )


def _declared(config: Config, kind: Kind) -> Mapping[str, Any]:
    declared: Mapping[str, Any] = getattr(config, f"{kind}s")
    return declared


def _read_options(text: str) -> dict[str, Any]:
    """The options in the database; damaged ones are marked, so that other entries stay readable."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {"unreadable": text[:_MAX_SHOWN_CHARS]}


def _config_options(declared: Any) -> dict[str, Any]:
    """The options in the YAML, without keys."""
    options: dict[str, Any] = declared.model_dump(mode="json", exclude={"keys"}, exclude_defaults=True)
    return options


def _read_expiry(text: str, now: float) -> float:
    with contextlib.suppress(ValueError):
        return now + parse_duration(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expires: {text[:40]!r} is not a time; use 90d, 12h, or 2027-06-30T12:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)).timestamp()


def written_time(ms: int) -> str:
    """Formats milliseconds since 1970 as a UTC time; empty for 0, "unreadable" for an invalid time."""
    if not ms:
        return ""
    try:
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "unreadable"
