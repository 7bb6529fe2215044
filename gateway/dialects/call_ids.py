"""Ids of tool calls in earlier turns, which other vendors have given: fitted to the next one, in call and result alike.

Vendors differ in the letters and the length that they take, and all want an id once only. Some number their calls anew
in each turn, and some give no id at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.contract.messages import Message, Part, ToolCall, ToolResult

if TYPE_CHECKING:
    from gateway.dialects.names import Rule


def call_ids(messages: tuple[Message, ...]) -> list[str]:
    """The ids of all calls and results."""
    return [
        part.id if isinstance(part, ToolCall) else part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, (ToolCall, ToolResult))
    ]


def fit_ids(messages: tuple[Message, ...], rule: Rule) -> tuple[Message, ...]:
    """The messages, each call with an id of its own that fits, and each result with its call's."""
    ids = call_ids(messages)
    if not ids:
        return messages
    ledger = _Ledger(rule, {each for each in ids if rule.fits(each)})
    return tuple([ledger.take(message) for message in messages])


class _Ledger:
    """Goes through a conversation from its beginning."""

    def __init__(self, rule: Rule, taken: set[str]) -> None:
        self._rule = rule
        # No made id may be one that stands elsewhere.
        self._taken = taken
        self._given: set[str] = set()
        # Calls without a result, oldest first: the caller's id and ours.
        self._open: list[tuple[str, str]] = []
        self._latest: dict[str, str] = {}
        self._calling = False

    def take(self, message: Message) -> Message:
        calls = any(isinstance(part, ToolCall) for part in message.parts)
        if calls and not self._calling:
            # What has got no result until now gets none: its id may come again.
            self._open = []
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
        self._open.append((call_id, wire))
        self._latest[call_id] = wire
        return wire

    def _result(self, call_id: str) -> str:
        place = self._find(call_id)
        return self._without_call(call_id) if place is None else self._open.pop(place)[1]

    def _find(self, call_id: str) -> int | None:
        """The place of the call that the result is of: without an id on either side, the oldest one that is open."""
        waiting = [before for before, _ in self._open]
        if call_id in waiting:
            return waiting.index(call_id)
        if call_id in self._latest or not waiting:
            return None
        if not call_id:
            return 0
        return waiting.index("") if "" in waiting else None

    def _without_call(self, call_id: str) -> str:
        """One result too many, or one whose call is not there: what the vendor says of it, it says."""
        if call_id not in self._latest:
            self._latest[call_id] = call_id if self._rule.fits(call_id) else self._make(call_id)
        return self._latest[call_id]

    def _make(self, call_id: str) -> str:
        wire = self._rule.fitted(call_id or "call", self._taken)
        self._taken.add(wire)
        return wire
