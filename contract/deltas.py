"""Responses of models: every response is a stream of deltas; a non-streaming response is a single delta.

A `Delta` is one event of the provider, or one complete body. It has the event's raw JSON next to the parsed fields:
if no step changes the delta, and both sides have the same dialect, the raw bytes are forwarded. A step that changes a
delta creates a new one without `raw`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

# Fields of a wire format without an equivalent here, by their dialect: forwarded to callers of that dialect.
Own: TypeAlias = dict[str, dict[str, Any]] | None
# Used instead of a dialect: fields of the piece of text itself, which must therefore not be split (Gemini's parts).
PART = "part"
FinishReason: TypeAlias = Literal[
    "", "stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause", "context_window",
    "malformed", "error", "other",
]  # fmt: skip


# More than any model reads or writes in one call: a larger number from a provider is wrong.
MOST_TOKENS = 100_000_000
_MOST_SEARCHES = 10_000


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one response so far (cumulative: a later value replaces an earlier one).

    `input` includes `cache_read` and `cache_write`, which includes `cache_write_1h` (tokens cached for an hour, at a
    higher price); `output` includes `reasoning`. `searches` are web searches by the provider. `cost` is in dollars, for
    callers that requested it.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    audio_input: int = 0
    audio_output: int = 0
    image_input: int = 0
    image_output: int = 0
    cache_write_1h: int = 0
    searches: int = 0
    cost: str = ""

    @property
    def sane(self) -> Usage:
        """The usage, with impossible counts (negative, or a part larger than its total) corrected."""
        if (
            0 <= self.reasoning <= self.output <= MOST_TOKENS
            and self.cache_read >= 0
            and self.cache_write >= 0
            and self.cache_read + self.cache_write <= self.input <= MOST_TOKENS
            and not self.has_special_prices
        ):
            return self
        read, write = _count(self.cache_read), _count(self.cache_write)
        searches = min(_count(self.searches), _MOST_SEARCHES)
        prompt = max(_count(self.input), read + write)
        answer = max(_count(self.output), _count(self.reasoning))
        return Usage(
            prompt,
            answer,
            read,
            write,
            _count(self.reasoning),
            min(_count(self.audio_input), prompt),
            min(_count(self.audio_output), answer),
            min(_count(self.image_input), prompt),
            min(_count(self.image_output), answer),
            min(_count(self.cache_write_1h), write),
            searches,
            self.cost,
        )

    def after(self, earlier: Usage | None) -> Usage:
        """The usage as an update of an `earlier` one in the same response: zero counts keep the earlier value."""
        if earlier is None:
            return self
        return Usage(
            self.input or earlier.input,
            self.output or earlier.output,
            self.cache_read or earlier.cache_read,
            self.cache_write or earlier.cache_write,
            self.reasoning or earlier.reasoning,
            self.audio_input or earlier.audio_input,
            self.audio_output or earlier.audio_output,
            self.image_input or earlier.image_input,
            self.image_output or earlier.image_output,
            self.cache_write_1h or earlier.cache_write_1h,
            self.searches or earlier.searches,
            self.cost or earlier.cost,
        )

    @property
    def has_special_prices(self) -> bool:
        """Whether parts of it have their own price: audio, images, hour-long caching or searches."""
        return bool(
            self.audio_input
            or self.audio_output
            or self.image_input
            or self.image_output
            or self.cache_write_1h
            or self.searches
        )


def _count(value: object) -> int:
    return min(max(0, value), MOST_TOKENS) if isinstance(value, int) else 0


class TokenLogprob(msgspec.Struct, frozen=True):
    """The natural-log probability of a token, and of the likeliest alternatives.

    `data` has the token's bytes if the provider reports them: a token may be a part of a character.
    """

    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    data: tuple[int, ...] | None = None


class Citation(msgspec.Struct, frozen=True):
    """A source that a provider cites for a part of its response.

    `quote` is that part, which begins at about the character `start` (-1: unknown) and is occurrence number `nth` from
    0; an empty `quote` means all text since the last block began. Filters may move text, so writers search for the
    quote in their output. `cited` is the text of the source, `value` the citation in the format of `dialect`.
    """

    dialect: str
    value: dict[str, Any]
    url: str = ""
    title: str = ""
    cited: str = ""
    quote: str = ""
    nth: int = 0
    start: int = -1


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of the tool call number `index` of its choice; `id` and `name` are in the first piece.

    `signature` is Google's. `custom` means that the arguments are free text (a custom tool of OpenAI).
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""
    custom: bool = False
    own: Own = None


class ChoiceDelta(msgspec.Struct, frozen=True):
    """A piece of choice number `index`. An index may occur several times in one delta, in the order of the response.

    `signature` closes the reasoning before it, or with Gemini the text before it if there is no reasoning; `signed_by`
    is the dialect of its vendor. `redacted` is reasoning that Anthropic encrypts. `citations` belong to the text before
    them. `begins` marks the beginning of a text block, in dialects that have blocks.
    `extra` has parts of the message that only the provider's own dialect can express (a content block, images, ...),
    `own` its fields outside the message.
    """

    index: int = 0
    text: str = ""
    reasoning: str = ""
    signature: str = ""
    redacted: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish: FinishReason = ""
    stop_sequence: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    extra: dict[str, Any] | None = None
    signed_by: str = ""
    citations: tuple[Citation, ...] = ()
    begins: bool = False
    own: Own = None

    @property
    def has_content(self) -> bool:
        """Whether it has anything that a caller sees: text, reasoning, a tool call, a refusal, a block of a dialect."""
        return bool(
            self.text
            or self.reasoning
            or self.tool_calls
            or self.refusal
            or self.redacted
            or self.extra
            or self.signature
            or self.citations
        )

    @property
    def must_be_forwarded(self) -> bool:
        """Whether it must be forwarded: a piece without content may still end or begin something."""
        return bool(self.has_content or self.finish or self.begins or self.own)

    @property
    def closes(self) -> bool:
        """Whether it completes the text and reasoning so far, so that none of it may come later."""
        return bool(self.finish or self.signature or self.citations or (self.own and PART in self.own))

    @property
    def separates_text(self) -> bool:
        """Whether it separates text, so that text that is held back must be sent before it.

        Fields outside the message do not: such a field may come between two pieces of one word.
        """
        return bool(self.closes or self.extra or self.begins or self.redacted)


class Delta(msgspec.Struct, frozen=True):
    """One increment. `raw` is the event's JSON (or the complete body), `event` its name if the dialect names events.

    `tier` is the service tier that the provider reports, as `contract.service_tier` names it. `own` are fields of the
    response that only one dialect has, including `usage` as the provider wrote it.
    """

    choices: tuple[ChoiceDelta, ...] = ()
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    raw: bytes = b""
    event: str = ""
    tier: str = ""
    own: Own = None
