"""Calendar periods of budgets in a time zone; a day may have 23 or 25 hours."""

from __future__ import annotations

import datetime
import zoneinfo
from functools import lru_cache

import msgspec

_HOUR_S = 3600


class Period(msgspec.Struct, frozen=True, gc=False):
    """A period in seconds since 1970; it includes `start`, not `end`."""

    label: str
    start: float
    end: float


@lru_cache(maxsize=256)
def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name)


class Calendar:
    """Finds the period of a time, and caches it until it ends."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str], Period] = {}

    def period(self, kind: str, zone: str, now: float) -> Period:
        """The period that contains `now`. `kind` is day, week (from Monday) or month."""
        known = self._now.get((kind, zone))
        if known is None or not known.start <= now < known.end:
            known = self._now[kind, zone] = period_of(kind, zone, now)
        return known


def period_of(kind: str, zone: str, now: float) -> Period:
    """See `Calendar.period`."""
    day = datetime.datetime.fromtimestamp(now, _zone(zone)).date()
    if kind == "week":
        first = day - datetime.timedelta(days=day.weekday())
        after = first + datetime.timedelta(days=7)
    elif kind == "month":
        first = day.replace(day=1)
        after = (first + datetime.timedelta(days=32)).replace(day=1)
    else:
        first, after = day, day + datetime.timedelta(days=1)
    return Period(f"{kind}:{zone}:{first.isoformat()}", _midnight(first, zone), _midnight(after, zone))


def _midnight(day: datetime.date, zone: str) -> float:
    """The first moment of a day. If the clock skips midnight, that is the moment of the change."""
    midnight = datetime.datetime.combine(day, datetime.time(), _zone(zone))
    moment = midnight.timestamp()
    if datetime.datetime.fromtimestamp(moment, _zone(zone)).date() < day:
        moment += _HOUR_S
    return moment
