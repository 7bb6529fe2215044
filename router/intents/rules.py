"""Rules: conditions on the properties of a request."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec

from contract.language import language
from contract.prompt_tokens import prompt_tokens

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.messages import ChatRequest
    from contract.phases import Decision

Clock = Callable[[], datetime.datetime]


class RuleCondition(msgspec.Struct, frozen=True):
    """A condition: all fields that are set must match. `hours` are minutes since midnight; `headers` are lower case."""

    apps: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}
    languages: tuple[str, ...] = ()
    hours: tuple[int, int] | None = None
    time_zone: str = "UTC"
    over: int | None = None
    under: int | None = None

    def matches(self, request: ChatRequest, exchange: Exchange, now: datetime.datetime) -> bool:
        """Whether the request matches."""
        app = exchange.caller.app if exchange.caller is not None else ""
        if self.apps and app not in self.apps:
            return False
        if any(not fnmatchcase(request.headers.get(name, ""), value) for name, value in self.headers.items()):
            return False
        given = request.metadata or {}
        if any(not fnmatchcase(str(given.get(name, "")), value) for name, value in self.metadata.items()):
            return False
        if self.languages and language(last_question(request)) not in self.languages:
            return False
        if self.hours is not None and not self._open(now):
            return False
        if self.over is None and self.under is None:
            return True
        size = prompt_tokens(request)
        return (self.over is None or size > self.over) and (self.under is None or size < self.under)

    def _open(self, now: datetime.datetime) -> bool:
        assert self.hours is not None
        there = now.astimezone(ZoneInfo(self.time_zone))
        minute = 60 * there.hour + there.minute
        begin, end = self.hours
        return begin <= minute < end if begin < end else minute >= begin or minute < end


class RoutingRule(msgspec.Struct, frozen=True):
    """A condition and its decision."""

    condition: RuleCondition
    decision: Decision


def first(
    rules: Sequence[RoutingRule], request: ChatRequest, exchange: Exchange, now: datetime.datetime
) -> Decision | None:
    """The decision of the first rule that matches; None if none does."""
    return next((rule.decision for rule in rules if rule.condition.matches(request, exchange, now)), None)


def last_question(request: ChatRequest) -> str:
    """The text of the last user message."""
    return next((each.text for each in reversed(request.messages) if each.role == "user"), "")
