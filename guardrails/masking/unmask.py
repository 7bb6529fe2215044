"""Restores the caller's values for tags in an answer, independent of how the stream is split.

Holds back only the end of a text that may be the start of an existing tag. Text, reasoning and refusals get plain
values; a tool's arguments get JSON-escaped values, and only if the tool may receive them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from contract.deltas import ChoiceDelta, Citation, Delta, ToolCallDelta

if TYPE_CHECKING:
    from guardrails.masking.vault import Vault

EVERY_TOOL = "*"


def as_json(value: str) -> str:
    """A value escaped for a JSON string."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


class _Channel:
    """One stream of text in progress."""

    __slots__ = ("_escape", "_held", "_vault")

    def __init__(self, vault: Vault, escape: Callable[[str], str] | None = None) -> None:
        self._vault = vault
        self._escape = escape
        self._held = ""

    def feed(self, text: str) -> str:
        """Returns the text that can be passed on now."""
        text = self._held + text
        place = self._vault.tail(text)
        self._held = text[place:]
        return self._vault.reveal(text[:place], self._escape)

    def finish(self) -> str:
        """Returns the text that was held back."""
        text, self._held = self._held, ""
        return self._vault.reveal(text, self._escape) if text else ""


# The text, reasoning or refusal of a choice, or the arguments of its tool call with that index.
_Name: TypeAlias = Literal["text", "reasoning", "refusal"] | int
_Channels: TypeAlias = "dict[_Name, _Channel | None]"


class Unmask:
    """Implements `contract.reply.OutputFilter` for one reply."""

    def __init__(self, vault: Vault, tools: Collection[str] = ()) -> None:
        """`tools` are those whose arguments get the values; `*` means every tool."""
        self._vault = vault
        self._tools = frozenset(tools)
        self._choices: dict[int, _Channels] = {}

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """See `OutputFilter.feed`."""
        released = []
        for delta in deltas:
            new = self._delta(delta) if delta.choices else delta
            if new is delta or new.choices or new.usage is not None:
                released.append(new)
        return released

    def finish(self) -> list[Delta]:
        """See `OutputFilter.finish`."""
        left = [piece for index, channels in self._choices.items() for piece in self._flush(index, channels, ())]
        return [Delta(tuple(left))] if left else []

    def _delta(self, delta: Delta) -> Delta:
        pieces: list[ChoiceDelta] = []
        for piece in delta.choices:
            channels = self._choices.get(piece.index)
            if channels is None:
                channels = self._choices[piece.index] = {
                    "text": _Channel(self._vault),
                    "reasoning": _Channel(self._vault),
                    "refusal": _Channel(self._vault),
                }
            pieces += self._piece(channels, piece)
        if len(pieces) == len(delta.choices) and all(
            new is old for new, old in zip(pieces, delta.choices, strict=True)
        ):
            return delta
        return msgspec.structs.replace(delta, choices=tuple(pieces), raw=b"")

    def _piece(self, channels: _Channels, piece: ChoiceDelta) -> list[ChoiceDelta]:
        """Returns the piece to pass on, after the held-back text of channels that it does not continue."""
        carried: set[_Name] = {call.index for call in piece.tool_calls}
        carried |= {name for name in _TEXT_FIELDS if getattr(piece, name)}
        changes: dict[str, Any] = {}
        # A new text block does not continue the previous text.
        continued = carried - {"text"} if piece.begins else carried
        before = self._flush(piece.index, channels, continued) if carried or piece.separates_text else []
        last = piece.closes
        for name in _TEXT_FIELDS:
            text = getattr(piece, name)
            if text and (new := self._pass(channels[name], text, last=last)) != text:
                changes[name] = new
        if piece.tool_calls:
            calls = tuple([self._call(channels, call, last=bool(piece.finish)) for call in piece.tool_calls])
            if calls != piece.tool_calls:
                changes["tool_calls"] = calls
        for place in ("extra", "own"):
            value = getattr(piece, place)
            if value and (revealed := _reveal_json(value, self._vault)) != value:
                changes[place] = revealed
        if piece.citations and (revealed_citations := self._citations(piece.citations)) != piece.citations:
            changes["citations"] = revealed_citations
        if not changes:
            return [*before, piece] if before else [piece]
        if piece.logprobs:
            # The log probabilities belong to the model's text, which has changed.
            changes["logprobs"] = ()
        new_piece = msgspec.structs.replace(piece, **changes)
        return [*before, new_piece] if new_piece.must_be_forwarded else before

    def _citations(self, citations: tuple[Citation, ...]) -> tuple[Citation, ...]:
        """The citations with restored values."""
        reveal = self._vault.reveal
        return tuple(
            [
                msgspec.structs.replace(
                    each,
                    value=_reveal_json(each.value, self._vault),
                    url=reveal(each.url),
                    title=reveal(each.title),
                    cited=reveal(each.cited),
                    quote=reveal(each.quote),
                )
                for each in citations
            ]
        )

    def _call(self, channels: _Channels, call: ToolCallDelta, *, last: bool) -> ToolCallDelta:
        if call.index not in channels:
            allowed = EVERY_TOOL in self._tools or call.name in self._tools
            channels[call.index] = _Channel(self._vault, as_json) if allowed else None
        arguments = self._pass(channels[call.index], call.arguments, last=last)
        return call if arguments == call.arguments else msgspec.structs.replace(call, arguments=arguments)

    @staticmethod
    def _pass(channel: _Channel | None, text: str, *, last: bool) -> str:
        if channel is None:
            return text
        released = channel.feed(text) if text else ""
        return released + channel.finish() if last else released

    @staticmethod
    def _flush(index: int, channels: _Channels, carried: Collection[_Name]) -> list[ChoiceDelta]:
        """Returns the held-back text of channels that are not `carried` on, as separate pieces."""
        pieces = []
        for name, channel in channels.items():
            if channel is None or name in carried or not (text := channel.finish()):
                continue
            if isinstance(name, int):
                pieces.append(ChoiceDelta(index, tool_calls=(ToolCallDelta(name, arguments=text),)))
            else:
                pieces.append(msgspec.structs.replace(_NOTHING, index=index, **{name: text}))
        return pieces


_TEXT_FIELDS: tuple[Literal["reasoning", "text", "refusal"], ...] = ("reasoning", "text", "refusal")
_NOTHING = ChoiceDelta()


def _reveal_json(value: Any, vault: Vault) -> Any:
    if isinstance(value, str):
        return vault.reveal(value)
    if isinstance(value, list):
        return [_reveal_json(each, vault) for each in value]
    if isinstance(value, dict):
        return {key: _reveal_json(each, vault) for key, each in value.items()}
    return value
