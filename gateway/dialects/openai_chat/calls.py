"""Tool calls of servers that number them badly: without index, all at index 0, without an id, or named late."""

from __future__ import annotations

import secrets

import msgspec

from contract.deltas import ChoiceDelta, Delta, ToolCallDelta

UNNUMBERED = -1


class CallNumbers:
    """Gives each tool call of one choice an index and an id of its own, and its name with its first piece."""

    __slots__ = ("_current", "_ids", "_nameless")

    def __init__(self, *, streams: bool = False) -> None:
        """`streams`: a call whose first pieces have no name waits for it, since every dialect begins with the name."""
        self._ids: dict[int, str] = {}  # by the index that we gave
        self._current: dict[int, int] = {}  # the server's index -> ours, of the latest call there
        self._nameless: dict[int, ToolCallDelta] | None = {} if streams else None

    def settle(self, choice: ChoiceDelta) -> ChoiceDelta:
        """The same choice, if its calls are numbered well; else one that is."""
        calls = tuple([new for call in choice.tool_calls if (new := self._settle_call(call)) is not None])
        return choice if calls == choice.tool_calls else msgspec.structs.replace(choice, tool_calls=calls)

    def _settle_call(self, call: ToolCallDelta) -> ToolCallDelta | None:
        index = self._find(call)
        if index is not None:
            # Some servers repeat the id with every piece.
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
        """The index of the call that this is a piece of; None: it begins a new one."""
        current = self._current.get(call.index)
        if current is None or not call.id or call.id == self._ids[current]:
            return current
        for index, call_id in self._ids.items():
            if call_id == call.id:
                return index
        # Another id at the same place begins another call only with a name: some servers make ids up per piece.
        return None if call.name else current


def settle_calls(delta: Delta, numbers: dict[int, CallNumbers], *, streams: bool = False) -> Delta:
    """The delta with its tool calls numbered; without its raw bytes if they say otherwise."""
    for choice in delta.choices:
        if choice.index not in numbers:
            numbers[choice.index] = CallNumbers(streams=streams)
    choices = tuple([numbers[choice.index].settle(choice) for choice in delta.choices])
    return delta if choices == delta.choices else msgspec.structs.replace(delta, choices=choices, raw=b"")
