"""Fixes tool calls of servers that number them incorrectly: without index, all at index 0, without id, or late name."""

from __future__ import annotations

import secrets

import msgspec

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta

UNNUMBERED = -1


class CallNumbers:
    """Gives each tool call of one choice a unique index and id, and its name in its first delta."""

    __slots__ = ("_current", "_ids", "_nameless")

    def __init__(self, *, streams: bool = False) -> None:
        """`streams`: hold back a call's first deltas until its name arrives, as all dialects start with the name."""
        self._ids: dict[int, str] = {}  # by the assigned index
        self._current: dict[int, int] = {}  # the server's index -> the assigned index of its latest call
        self._nameless: dict[int, ToolCallDelta] | None = {} if streams else None

    def number_calls(self, choice: ChoiceDelta) -> ChoiceDelta:
        """The choice with its calls renumbered, if needed."""
        calls = tuple([new for call in choice.tool_calls if (new := self._number_call(call)) is not None])
        return choice if calls == choice.tool_calls else msgspec.structs.replace(choice, tool_calls=calls)

    def _number_call(self, call: ToolCallDelta) -> ToolCallDelta | None:
        index = self._find(call)
        if index is not None:
            # Some servers repeat the id in every delta.
            return call if index == call.index else msgspec.structs.replace(call, index=index)
        if self._nameless is not None:
            before = self._nameless.pop(call.index, None)
            if before is not None:
                call = msgspec.structs.replace(
                    before, id=before.id or call.id, name=call.name, arguments=before.arguments + call.arguments,
                    signature=before.signature or call.signature, custom=before.custom or call.custom,
                    own=before.own or call.own,
                )  # fmt: skip
            if not call.name:
                self._nameless[call.index] = call
                return None
        free = max(self._ids, default=-1) + 1
        index = free if call.index == UNNUMBERED or call.index in self._ids else call.index
        call_id = call.id or f"call_{secrets.token_hex(8)}"
        self._ids[index] = call_id
        self._current[call.index] = index
        if index == call.index and call_id == call.id:
            return call
        return msgspec.structs.replace(call, index=index, id=call_id)

    def _find(self, call: ToolCallDelta) -> int | None:
        """The index of the call that the delta belongs to; None if it starts a new call."""
        current = self._current.get(call.index)
        if current is None or not call.id or call.id == self._ids[current]:
            return current
        for index, call_id in self._ids.items():
            if call_id == call.id:
                return index
        # Another id at the same index starts another call only with a name: some servers generate an id per delta.
        return None if call.name else current


def number_tool_calls(delta: Delta, numbers: dict[int, CallNumbers], *, streams: bool = False) -> Delta:
    """The delta with its tool calls renumbered; without its raw bytes if anything changed."""
    for choice in delta.choices:
        if choice.index not in numbers:
            numbers[choice.index] = CallNumbers(streams=streams)
    choices = tuple([numbers[choice.index].number_calls(choice) for choice in delta.choices])
    return delta if choices == delta.choices else msgspec.structs.replace(delta, choices=choices, raw=b"")
