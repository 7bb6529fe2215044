"""Converts ids of tool calls, which another vendor may have assigned, to ids that the next vendor accepts.

Vendors accept different characters and lengths, and all require unique ids. Some restart their numbering in each turn,
and some assign no id at all.
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
    """The ids of all tool calls and results."""
    return [
        part.id if isinstance(part, ToolCall) else part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, (ToolCall, ToolResult))
    ]


def fit_ids(messages: tuple[Message, ...], rule: NameRule) -> tuple[Message, ...]:
    """The messages with a unique, valid id for each call, and with the call's id for each result."""
    calls: list[str] = []
    ids: set[str] = set()
    for message in messages:
        for part in message.parts:
            if type(part) is ToolCall:
                calls.append(part.id)
            elif type(part) is ToolResult:
                ids.add(part.call_id)
    ids.update(calls)
    if len(set(calls)) == len(calls) and rule.accepts_all(ids):
        # The common case.
        return messages
    valid = {each for each in ids if rule.accepts(each)}
    mapper = _IdMapper(rule, valid)
    return tuple([mapper.map_message(message) for message in messages])


class _IdMapper:
    """Maps ids, message by message, from the start of a conversation."""

    def __init__(self, rule: NameRule, taken: set[str]) -> None:
        self._rule = rule
        # A generated id must not equal any id in the conversation.
        self._taken = taken
        self._given: set[str] = set()
        # Kept per name, because a conversation may repeat an id thousands of times.
        self._candidates: dict[str, Iterator[str]] = {}
        # Calls without a result, oldest first: number -> (caller's id, new id). And the numbers by caller's id.
        self._open: OrderedDict[int, tuple[str, str]] = OrderedDict()
        self._numbers: dict[str, deque[int]] = {}
        self._count = 0
        self._latest: dict[str, str] = {}
        self._calling = False

    def map_message(self, message: Message) -> Message:
        calls = any(isinstance(part, ToolCall) for part in message.parts)
        if calls and not self._calling:
            # Calls without a result until now get none, and their ids may be reused.
            self._open.clear()
            self._numbers.clear()
        self._calling = calls
        if not calls and not any(isinstance(part, ToolResult) for part in message.parts):
            return message
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                new_id = self._call(part.id)
                parts.append(part if new_id == part.id else msgspec.structs.replace(part, id=new_id))
            elif isinstance(part, ToolResult):
                new_id = self._result(part.call_id)
                parts.append(part if new_id == part.call_id else msgspec.structs.replace(part, call_id=new_id))
            else:
                parts.append(part)
        return msgspec.structs.replace(message, parts=tuple(parts))

    def _call(self, call_id: str) -> str:
        new_id = call_id if self._rule.accepts(call_id) and call_id not in self._given else self._generate(call_id)
        self._given.add(new_id)
        self._open[self._count] = (call_id, new_id)
        self._numbers.setdefault(call_id, deque()).append(self._count)
        self._count += 1
        self._latest[call_id] = new_id
        return new_id

    def _result(self, call_id: str) -> str:
        number = self._find(call_id)
        if number is None:
            return self._without_call(call_id)
        before, new_id = self._open.pop(number)
        # It is the oldest of its id, too.
        self._numbers[before].popleft()
        return new_id

    def _find(self, call_id: str) -> int | None:
        """The number of the result's call. If either side has no id, it is the oldest open call."""
        if waiting := self._numbers.get(call_id):
            return waiting[0]
        if call_id in self._latest or not self._open:
            return None
        if not call_id:
            return next(iter(self._open))
        unnamed = self._numbers.get("")
        return unnamed[0] if unnamed else None

    def _without_call(self, call_id: str) -> str:
        """The id for a surplus result, or one without a call. The vendor may reject it."""
        if call_id not in self._latest:
            self._latest[call_id] = call_id if self._rule.accepts(call_id) else self._generate(call_id)
        return self._latest[call_id]

    def _generate(self, call_id: str) -> str:
        name = call_id or "call"
        candidates = self._candidates.get(name)
        if candidates is None:
            candidates = self._candidates[name] = self._rule.candidates(name)
        new_id = next(candidate for candidate in candidates if candidate not in self._taken)
        self._taken.add(new_id)
        return new_id
