"""Ids of tool calls in earlier turns, which other vendors have given: fitted to the next one, in call and result alike.

Vendors differ in the letters and the length that they take, and all want an id once only. Some number their calls anew
in each turn, and some give no id at all.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import msgspec

from contract.messages import Message, Part, ToolCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.dialects.names import NameRule


def call_ids(messages: tuple[Message, ...]) -> list[str]:
    """The ids of all calls and results."""
    return [
        part.id if isinstance(part, ToolCall) else part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, (ToolCall, ToolResult))
    ]


def fit_ids(messages: tuple[Message, ...], rule: NameRule) -> tuple[Message, ...]:
    """The messages, each call with an id of its own that fits, and each result with its call's."""
    calls: list[str] = []
    ids: set[str] = set()
    for message in messages:
        for part in message.parts:
            if type(part) is ToolCall:
                calls.append(part.id)
            elif type(part) is ToolResult:
                ids.add(part.call_id)
    ids.update(calls)
    if len(set(calls)) == len(calls) and rule.fit(ids):
        # As almost always.
        return messages
    fits = {each for each in ids if rule.fits(each)}
    ledger = _Ledger(rule, fits)
    return tuple([ledger.take(message) for message in messages])


class _Ledger:
    """Goes through a conversation from its beginning."""

    def __init__(self, rule: NameRule, taken: set[str]) -> None:
        self._rule = rule
        # No made id may be one that stands elsewhere.
        self._taken = taken
        self._given: set[str] = set()
        # A conversation may have thousands of one id: none is made twice.
        self._candidates: dict[str, Iterator[str]] = {}
        # Calls without a result, oldest first, by their numbers: the caller's id and ours. And the numbers by the id.
        self._open: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._numbers: dict[str, deque[int]] = {}
        self._count = 0
        self._latest: dict[str, str] = {}
        self._calling = False

    def take(self, message: Message) -> Message:
        calls = any(isinstance(part, ToolCall) for part in message.parts)
        if calls and not self._calling:
            # What has got no result until now gets none: its id may come again.
            self._open.clear()
            self._numbers.clear()
        self._calling = calls
        if not calls and not any(isinstance(part, ToolResult) for part in message.parts):
            return message
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                wire = self._call(part.id)
                parts.append(part if wire == part.id else msgspec.structs.replace(part, id=wire))
            elif isinstance(part, ToolResult):
                wire = self._result(part.call_id)
                parts.append(part if wire == part.call_id else msgspec.structs.replace(part, call_id=wire))
            else:
                parts.append(part)
        return msgspec.structs.replace(message, parts=tuple(parts))

    def _call(self, call_id: str) -> str:
        wire = call_id if self._rule.fits(call_id) and call_id not in self._given else self._make(call_id)
        self._given.add(wire)
        self._open[self._count] = (call_id, wire)
        self._numbers.setdefault(call_id, deque()).append(self._count)
        self._count += 1
        self._latest[call_id] = wire
        return wire

    def _result(self, call_id: str) -> str:
        number = self._find(call_id)
        if number is None:
            return self._without_call(call_id)
        before, wire = self._open.pop(number)
        # It is the oldest of its id, too.
        self._numbers[before].popleft()
        return wire

    def _find(self, call_id: str) -> int | None:
        """The number of the call that the result is of: without an id on either side, the oldest one that is open."""
        if waiting := self._numbers.get(call_id):
            return waiting[0]
        if call_id in self._latest or not self._open:
            return None
        if not call_id:
            return next(iter(self._open))
        unnamed = self._numbers.get("")
        return unnamed[0] if unnamed else None

    def _without_call(self, call_id: str) -> str:
        """One result too many, or one whose call is not there: what the vendor says of it, it says."""
        if call_id not in self._latest:
            self._latest[call_id] = call_id if self._rule.fits(call_id) else self._make(call_id)
        return self._latest[call_id]

    def _make(self, call_id: str) -> str:
        name = call_id or "call"
        candidates = self._candidates.get(name)
        if candidates is None:
            candidates = self._candidates[name] = self._rule.candidates(name)
        wire = next(made for made in candidates if made not in self._taken)
        self._taken.add(wire)
        return wire
