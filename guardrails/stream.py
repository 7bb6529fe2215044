"""Runs a finder on an answer while it streams: masks what it finds, or blocks the answer, before it is sent.

Text is released up to `hold_back` characters before its end, and never from within a match that may still grow. So no
match up to that length is ever sent partially.
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
# Released characters that are searched again, as context for matches that start in them.
LOOK_BACK = 64
_TEXT_FIELDS = ("reasoning", "text", "refusal")
# Vendor-specific fields: those that are never split across deltas, and the keys that hold text in the others.
_COMPLETE = frozenset({"content_blocks", PART})
_TEXT_KEYS = frozenset({"text", "content", "summary", "transcript", "thinking", "reasoning", "reasoning_content"})


def _has_text(name: str, value: Any) -> bool:
    if isinstance(value, str):
        return name in _TEXT_KEYS and bool(value)
    if isinstance(value, dict):
        return any(_has_text(key, each) for key, each in value.items())
    return isinstance(value, list) and any(_has_text(name, each) for each in value)


class _Channel:
    """One stream of text in progress: the held-back text, and some context before it."""

    __slots__ = ("before", "held", "until")

    def __init__(self) -> None:
        self.before = ""
        self.held = ""
        # A growing match is searched again only at this length, not at every token.
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
        """`allowed` returns whether a match is the caller's own text and may pass."""
        self._finder = finder
        self._policy = policy
        self._exchange = exchange
        self._allowed = allowed
        self._hold_back = hold_back
        self._channels: dict[tuple[int, str | int], _Channel] = {}
        # A guardrail that only flags need not hold text back.
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
        own = self._vendors(delta.own, complete=True)
        if tuple(pieces) == delta.choices and own is delta.own:
            return delta
        if not pieces and delta.usage is None and not delta.id:
            return None
        return msgspec.structs.replace(delta, choices=tuple(pieces), own=own, raw=b"")

    def _piece(self, piece: ChoiceDelta) -> list[ChoiceDelta]:
        carried: set[str | int] = {name for name in _TEXT_FIELDS if getattr(piece, name)}
        carried |= {call.index for call in piece.tool_calls}
        # A new text block does not continue the previous text.
        continued = carried - {"text"} if piece.begins else carried
        before = self._flush(piece.index, continued) if carried or piece.separates_text else []
        last = piece.closes
        changes: dict[str, Any] = {
            name: new
            for name in _TEXT_FIELDS
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
        return [*before, new_piece] if new_piece.must_be_forwarded else before

    def _call(self, index: int, call: ToolCallDelta, *, last: bool) -> ToolCallDelta:
        arguments = self._pass(index, call.index, call.arguments, last=last)
        own = self._vendors(call.own, complete=True)
        if arguments == call.arguments and own is call.own:
            return call
        return msgspec.structs.replace(call, arguments=arguments, own=own)

    def _beside(self, piece: ChoiceDelta) -> dict[str, Any]:
        """The changes to other fields of the piece: vendor-specific fields may repeat the text."""
        changes: dict[str, Any] = {}
        if piece.extra and (extra := self._fields(piece.extra, complete=bool(piece.finish))) is not piece.extra:
            changes["extra"] = extra or None
        if piece.own and (own := self._vendors(piece.own, complete=bool(piece.finish))) is not piece.own:
            changes["own"] = own
        if piece.citations:
            citations = tuple([self._citation(each) for each in piece.citations])
            if citations != piece.citations:
                changes["citations"] = citations
        return changes

    def _citation(self, citation: Citation) -> Citation:
        return msgspec.structs.replace(
            citation,
            value=map_json(citation.value, self._redact, "assistant"),
            title=self._redact(citation.title, "assistant"),
            cited=self._redact(citation.cited, "assistant"),
        )

    def _vendors(self, own: Own, *, complete: bool) -> Own:
        if not own:
            return own
        new = {vendor: self._fields(fields, complete=complete) for vendor, fields in own.items()}
        return own if all(new[vendor] is own[vendor] for vendor in own) else new

    def _fields(self, fields: dict[str, Any], *, complete: bool) -> dict[str, Any]:
        """Searches the fields. Fields whose text is split across deltas can't be searched, so they are dropped."""
        searchable = fields
        if not complete and self._holds:
            searchable = {
                name: value for name, value in fields.items() if name in _COMPLETE or not _has_text(name, value)
            }
            for name in fields.keys() - searchable.keys():
                self._report_dropped(name)
        redacted = map_json(searchable, self._redact, "assistant")
        return fields if redacted == fields else redacted

    def _redact(self, text: str, _: str) -> str:
        spans = [span for span in self._find(text) if not self._passes(text, span)]
        self._decide(spans)
        return text if self._policy.shadow else redact(text, spans, self._policy)

    def _report_dropped(self, name: str) -> None:
        """Reports once that a field of the answer was dropped."""
        dropped = DroppedParam(f"answer.{name}", "its text is streamed in pieces, which guardrails can't search")
        for attempt in self._exchange.attempts:
            if attempt.chosen and dropped not in attempt.losses:
                attempt.losses = (*attempt.losses, dropped)

    def _flush(self, index: int, carried: object) -> list[ChoiceDelta]:
        """Returns the held-back text of channels that are not carried on, as separate pieces."""
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
        """Returns the text of the channel that can be passed on now."""
        channel = self._channels.get((index, name))
        if channel is None:
            channel = self._channels[index, name] = _Channel()
        held = channel.held + text
        if not last and len(held) < channel.until:
            channel.held = held
            return ""
        window = channel.before + held
        skip = len(channel.before)
        spans = [span for span in self._find(window) if span.end > skip and not self._passes(window, span)]
        place = len(held) if last or not self._holds else max(0, len(held) - self._hold_back)
        for span in spans if self._holds else ():
            # Never split a match; a match that reaches the end may still grow.
            if span.start - skip < place < span.end - skip or (not last and span.end == len(window)):
                place = max(0, min(place, span.start - skip))
        out = [msgspec.structs.replace(span, start=max(0, span.start - skip), end=span.end - skip) for span in spans]
        out = [span for span in out if span.end <= place]
        self._decide(out)
        released = held[:place]
        channel.held = held[place:]
        channel.until = len(channel.held) * 9 // 8 if not place and len(held) > 2 * self._hold_back else 0
        channel.before = (channel.before + released)[-LOOK_BACK:]
        return released if self._policy.shadow else redact(released, out, self._policy)

    def _find(self, text: str) -> list[Span]:
        try:
            return self._finder.find(text)
        except TimeoutError as error:
            self._policy.failed(error, "output", self._exchange)
            return []

    def _passes(self, text: str, span: Span) -> bool:
        return self._allowed is not None and self._allowed(text[span.start : span.end])

    def _decide(self, spans: list[Span]) -> None:
        if spans:
            self._policy.decide(Counter(span.kind for span in spans), "output", self._exchange)
