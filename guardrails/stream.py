"""A finder at work on an answer while it streams: what it finds is masked, or ends the answer, before it gets out.

Text is released up to `hold_back` characters before its end, and never from within something that is still growing. So
nothing shorter than that is ever sent in part before it has been seen whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from contract.deltas import PART, ChoiceDelta, Citation, Delta, Own, ToolCallDelta
from contract.messages import DroppedParam
from guardrails.spans import redact
from guardrails.text_fields import map_json

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from guardrails.checks import Finder
    from guardrails.span import Span
    from guardrails.verdict import Policy

HOLD_BACK = 96
# Text that has been released, kept so that what began in it is still seen for what it is.
LOOK_BACK = 64
_WORDS = ("reasoning", "text", "refusal")
# Fields that only a vendor knows: those that never come in pieces, and the names under which words stand in the others.
_COMPLETE = frozenset({"content_blocks", PART})
_SPOKEN = frozenset({"text", "content", "summary", "transcript", "thinking", "reasoning", "reasoning_content"})


def _speaks(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in _SPOKEN and bool(value)
    if isinstance(value, dict):
        return any(_speaks(key, each) for key, each in value.items())
    return isinstance(value, list) and any(_speaks(name, each) for each in value)


class _Channel:
    """One run of text under way: what is held, and a little of what went before."""

    __slots__ = ("before", "held", "until")

    def __init__(self) -> None:
        self.before = ""
        self.held = ""
        # What is still growing is looked at again when so much is held, not at every token.
        self.until = 0


class SpanFilter:
    """Implements `contract.reply.OutputFilter` for one reply."""

    def __init__(
        self,
        finder: Finder,
        policy: Policy,
        exchange: Exchange,
        *,
        allowed: Callable[[str], bool] | None = None,
        hold_back: int = HOLD_BACK,
    ) -> None:
        """`allowed` says of a find that it is the caller's own and may pass."""
        self._finder = finder
        self._policy = policy
        self._exchange = exchange
        self._allowed = allowed
        self._hold_back = hold_back
        self._channels: dict[tuple[int, str | int], _Channel] = {}
        # What is only noted need not wait for what comes after it.
        self._holds = any(action not in ("flag", "allow") for action in policy.actions.values()) and not policy.shadow

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """See `OutputFilter.feed`. Raises `ContentBlocked`."""
        return [new for delta in deltas if (new := self._delta(delta)) is not None]

    def finish(self) -> list[Delta]:
        """See `OutputFilter.finish`."""
        pieces = [piece for index in {key[0] for key in self._channels} for piece in self._flush(index, ())]
        return [Delta(tuple(pieces))] if pieces else []

    def _delta(self, delta: Delta) -> Delta | None:
        pieces: list[ChoiceDelta] = []
        for piece in delta.choices:
            pieces += self._piece(piece)
        own = self._vendors(delta.own, whole=True)
        if tuple(pieces) == delta.choices and own is delta.own:
            return delta
        if not pieces and delta.usage is None and not delta.id:
            return None
        return msgspec.structs.replace(delta, choices=tuple(pieces), own=own, raw=b"")

    def _piece(self, piece: ChoiceDelta) -> list[ChoiceDelta]:
        carried: set[str | int] = {name for name in _WORDS if getattr(piece, name)}
        carried |= {call.index for call in piece.tool_calls}
        # A block of text that begins does not go on with the words before it.
        continued = carried - {"text"} if piece.begins else carried
        before = self._flush(piece.index, continued) if carried or piece.parts_words else []
        last = piece.closes
        changes: dict[str, Any] = {
            name: new
            for name in _WORDS
            if (text := getattr(piece, name)) and (new := self._pass(piece.index, name, text, last=last)) != text
        }
        calls = tuple([self._call(piece.index, call, last=last) for call in piece.tool_calls])
        if calls != piece.tool_calls:
            changes["tool_calls"] = calls
        changes |= self._beside(piece)
        if not changes:
            return [*before, piece]
        changes["logprobs"] = ()
        new_piece = msgspec.structs.replace(piece, **changes)
        return [*before, new_piece] if new_piece.says_something else before

    def _call(self, index: int, call: ToolCallDelta, *, last: bool) -> ToolCallDelta:
        arguments = self._pass(index, call.index, call.arguments, last=last)
        own = self._vendors(call.own, whole=True)
        if arguments == call.arguments and own is call.own:
            return call
        return msgspec.structs.replace(call, arguments=arguments, own=own)

    def _beside(self, piece: ChoiceDelta) -> dict[str, Any]:
        """What changes of all that stands beside the words: fields of one vendor may say the same words again."""
        changes: dict[str, Any] = {}
        if piece.extra and (extra := self._fields(piece.extra, whole=bool(piece.finish))) is not piece.extra:
            changes["extra"] = extra or None
        if piece.own and (own := self._vendors(piece.own, whole=bool(piece.finish))) is not piece.own:
            changes["own"] = own
        if piece.citations:
            told = tuple([self._citation(each) for each in piece.citations])
            if told != piece.citations:
                changes["citations"] = told
        return changes

    def _citation(self, citation: Citation) -> Citation:
        return msgspec.structs.replace(
            citation,
            value=map_json(citation.value, self._searched, "assistant"),
            title=self._searched(citation.title, "assistant"),
            cited=self._searched(citation.cited, "assistant"),
        )

    def _vendors(self, own: Own, *, whole: bool) -> Own:
        if not own:
            return own
        new = {vendor: self._fields(fields, whole=whole) for vendor, fields in own.items()}
        return own if all(new[vendor] is own[vendor] for vendor in own) else new

    def _fields(self, fields: dict[str, Any], *, whole: bool) -> dict[str, Any]:
        """The fields, searched. Those whose words come in pieces can't be, and are left out of a stream."""
        kept = fields
        if not whole and self._holds:
            kept = {name: value for name, value in fields.items() if name in _COMPLETE or not _speaks(name, value)}
            for name in fields.keys() - kept.keys():
                self._lose(name)
        searched = map_json(kept, self._searched, "assistant")
        return fields if searched == fields else searched

    def _searched(self, text: str, _: str) -> str:
        spans = [span for span in self._find(text) if not self._passes(text, span)]
        self._decide(spans)
        return text if self._policy.shadow else redact(text, spans, self._policy)

    def _lose(self, name: str) -> None:
        """Tells once that a field of the answer was left out."""
        loss = DroppedParam(f"answer.{name}", "its words come in pieces, which no guardrail can search")
        for attempt in self._exchange.attempts:
            if attempt.chosen and loss not in attempt.losses:
                attempt.losses = (*attempt.losses, loss)

    def _flush(self, index: int, carried: object) -> list[ChoiceDelta]:
        """What is held back of the channels that are not carried on, as pieces of their own."""
        pieces = []
        for (choice, name), channel in self._channels.items():
            if choice != index or name in carried or not channel.held:  # type: ignore[operator]
                continue
            text = self._pass(index, name, "", last=True)
            if isinstance(name, int):
                pieces.append(ChoiceDelta(index, tool_calls=(ToolCallDelta(name, arguments=text),)))
            else:
                pieces.append(msgspec.structs.replace(ChoiceDelta(index), **{name: text}))
        return pieces

    def _pass(self, index: int, name: str | int, text: str, *, last: bool) -> str:
        """What of the channel can go on now."""
        channel = self._channels.get((index, name))
        if channel is None:
            channel = self._channels[index, name] = _Channel()
        held = channel.held + text
        if not last and len(held) < channel.until:
            channel.held = held
            return ""
        seen = channel.before + held
        skip = len(channel.before)
        spans = [span for span in self._find(seen) if span.end > skip and not self._passes(seen, span)]
        place = len(held) if last or not self._holds else max(0, len(held) - self._hold_back)
        for span in spans if self._holds else ():
            # Never a cut through what is found; and what reaches the end may still grow.
            if span.start - skip < place < span.end - skip or (not last and span.end == len(seen)):
                place = max(0, min(place, span.start - skip))
        out = [msgspec.structs.replace(span, start=max(0, span.start - skip), end=span.end - skip) for span in spans]
        out = [span for span in out if span.end <= place]
        self._decide(out)
        released = held[:place]
        channel.held = held[place:]
        channel.until = len(channel.held) * 9 // 8 if not place and len(held) > 2 * self._hold_back else 0
        channel.before = (channel.before + released)[-LOOK_BACK:]
        return released if self._policy.shadow else redact(released, out, self._policy)

    def _find(self, seen: str) -> list[Span]:
        try:
            return self._finder.find(seen)
        except TimeoutError as error:
            self._policy.failed(error, "output", self._exchange)
            return []

    def _passes(self, seen: str, span: Span) -> bool:
        return self._allowed is not None and self._allowed(seen[span.start : span.end])

    def _decide(self, spans: list[Span]) -> None:
        if spans:
            self._policy.decide(Counter(span.kind for span in spans), "output", self._exchange)
