"""What administrators do to who may call, checked: keys, apps, teams and organisations in the database.

The command line and the admin API both come here. What the YAML declares is shown and can't be changed.
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
# What must be there before it, and what of its options names it.
_ABOVE: dict[str, Kind] = {"team": "organisation", "app": "team"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
# Of what can't be read.
_MOST_SHOWN = 200
LONGEST_LIFE_S = 10 * 366 * 86_400


@dataclass(frozen=True)
class KeyView:
    """A key as administrators see it: all but the key. Times are UTC, empty for never.

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
    """An organisation, team or app. `source` is "config" for those that only the YAML can change."""

    kind: str
    name: str
    source: str
    options: dict[str, Any]


class Administration:
    """Raises `NotFound`, `Conflict`, and `ValueError` for what is wrong with the input."""

    def __init__(
        self, config: Callable[[], Config], database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        """`config` gives the one that serves now. Raises `ValueError` for a pepper that is none."""
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
        """(the key's record, the key, which is told this once). `expires` is a time, or how long from now."""
        if await self._options("app", app) is None:
            raise NotFound(f"there is no app {app[:128]}; known here: {', '.join(await self._names('app')) or 'none'}")
        narrowing = check_key_options(options or {}, self._config().surfaces)
        self._check_names(json.loads(narrowing))
        if len(name) > 128 or not name.isprintable():
            raise ValueError("name: a key's name is up to 128 printable characters")
        declared = app in _declared(self._config(), "app")
        record, key = await self._registry.create_key(
            actor, app, name, narrowing, self._end(expires), declared=declared
        )
        return self._view(record), key

    async def rotate_key(
        self, actor: str, identity: str, overlap: str = "24h", expires: str = ""
    ) -> tuple[KeyView, str]:
        """A new key, while the old one goes on for `overlap`; it `expires` as the old one did unless told."""
        try:
            overlap_s = 0.0 if overlap == "0" else parse_duration(overlap)
        except ValueError:
            raise ValueError(f"overlap: {overlap[:40]!r} is no duration; write it like 24h, or 0") from None
        record, key = await self._registry.rotate_key(actor, identity, overlap_s, self._end(expires))
        return self._view(record), key

    async def revoke_key(self, actor: str, identity: str) -> None:
        """Every replica refuses it within a second."""
        await self._registry.revoke_key(actor, identity)

    async def keys(self, app: str = "") -> list[KeyView]:
        """Those that were made while it ran, the newest first."""
        return [self._view(each) for each in await self._registry.keys(app)]

    async def parties(self, kind: Kind) -> list[PartyView]:
        """The YAML's first, then the database's, each by name."""
        declared = _declared(self._config(), kind)
        stored = [each for each in await self._registry.parties(kind) if each.name not in declared]
        views = [PartyView(kind, name, "config", _shown(each)) for name, each in sorted(declared.items())]
        return views + [PartyView(kind, each.name, "database", masked(_read_options(each.options))) for each in stored]

    async def party(self, kind: Kind, name: str) -> PartyView:
        """One of them."""
        found = next((each for each in await self.parties(kind) if each.name == name), None)
        if found is None:
            raise NotFound(f"there is no {kind} {name[:128]}")
        return found

    async def put_party(self, actor: str, kind: Kind, name: str, options: Mapping[str, Any], *, new: bool) -> PartyView:
        """Adds one, or changes one of the database."""
        if _NAME.match(name) is None:
            raise ValueError(
                "name: a name is up to 128 letters, digits and any of . _ -, and begins with a letter or a digit"
            )
        self._not_declared(kind, name)
        kept = check_options(kind, options, self._config())
        above = _ABOVE.get(kind)
        named = options.get(above) if above is not None else None
        if above is not None and named is not None and await self._options(above, named) is None:
            raise ValueError(f"{above}: there is no {above} {str(named)[:128]}")
        await self._registry.put_party(actor, kind, name, kept, new=new)
        return PartyView(kind, name, "database", masked(json.loads(kept)))

    async def remove_party(self, actor: str, kind: Kind, name: str) -> None:
        """Takes one of the database away; an app's keys are revoked with it."""
        self._not_declared(kind, name)
        below = next((each for each, above in _ABOVE.items() if above == kind), None)
        if below is not None:
            for each in await self.parties(below):  # type: ignore[arg-type]
                if each.options.get(kind) == name:
                    raise Conflict(f"the {below} {each.name} belongs to it")
        await self._registry.remove_party(actor, kind, name)

    def _not_declared(self, kind: Kind, name: str) -> None:
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
                    raise ValueError(f"{section}: there is no {each[:128]}; known here: {', '.join(known) or 'none'}")

    def _end(self, expires: str) -> int:
        """Milliseconds since 1970, 0 for never."""
        if not expires:
            return 0
        now = self._clock()
        end = _read_end(expires, now)
        if end <= now:
            raise ValueError(f"expires: {expires[:40]} has passed")
        if end > now + LONGEST_LIFE_S:
            raise ValueError("expires: ten years are the most; leave it out for a key that never expires")
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
            options if options is not None else {"unreadable": record.options[:_MOST_SHOWN]},
        )


def _declared(config: Config, kind: Kind) -> Mapping[str, Any]:
    found: Mapping[str, Any] = getattr(config, f"{kind}s")
    return found


def _read_options(text: str) -> dict[str, Any]:
    """What the database says; whoever may have spoilt it, the others can still be read."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    return read if isinstance(read, dict) else {"unreadable": text[:_MOST_SHOWN]}


def _shown(declared: Any) -> dict[str, Any]:
    """What the YAML says, without keys."""
    made: dict[str, Any] = declared.model_dump(mode="json", exclude={"keys"}, exclude_defaults=True)
    return made


def _read_end(text: str, now: float) -> float:
    with contextlib.suppress(ValueError):
        return now + parse_duration(text)
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expires: {text[:40]!r} is no time; write 90d, 12h, or 2027-06-30T12:00Z") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)).timestamp()


def written_time(ms: int) -> str:
    """Of milliseconds since 1970, in UTC; empty for 0 and for what is no time."""
    if not ms:
        return ""
    try:
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "unreadable"
