"""What a model answers: everything is a stream of deltas, a whole answer is a stream of one.

A `Delta` is one event of the provider, or one whole body. It keeps the event's raw JSON beside what was read
from it: untouched, and with the same dialect on both sides, the raw bytes are forwarded. A step that changes
what a delta says makes a new one without `raw`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

# Fields of a wire format that have no word here, by the dialect that knows them: they go on to callers of that dialect.
Own: TypeAlias = dict[str, dict[str, Any]] | None
# In place of a dialect: fields of the piece of text itself, which therefore stays in one piece (Gemini's parts).
PART = "part"
FinishReason: TypeAlias = Literal[
    "", "stop", "stop_sequence", "length", "tool_calls", "content_filter", "refusal", "pause", "context_window",
    "malformed", "error", "other",
]  # fmt: skip


# More than any model reads or writes in one call: a provider that says so is wrong.
MOST_TOKENS = 100_000_000
_MOST_SEARCHES = 10_000


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer so far (cumulative: a later one replaces an earlier one).

    `input` includes `cache_read` and `cache_write`, and that `cache_write_1h` (what is kept for an hour, which costs
    more); `output` includes `reasoning`. `searches` are the provider's own, of the web. `cost` is in dollars, for
    callers who have asked for it.
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
        """Itself; in place of what can't be (less than nothing, a part larger than the whole) what could be meant."""
        if (
            0 <= self.reasoning <= self.output <= MOST_TOKENS
            and self.cache_read >= 0
            and self.cache_write >= 0
            and self.cache_read + self.cache_write <= self.input <= MOST_TOKENS
            and not self.odd
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
        """Itself, said later in the same answer: a count of nothing says nothing of what was counted before."""
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
    def odd(self) -> bool:
        """Whether some of it has a price of its own."""
        return bool(
            self.audio_input
            or self.audio_output
            or self.image_input
            or self.image_output
            or self.cache_write_1h
            or self.searches
        )


def _count(said: object) -> int:
    return min(max(0, said), MOST_TOKENS) if isinstance(said, int) else 0


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token's natural-log probability, with the likeliest others at its place.

    `data` are its bytes where the provider tells them: a token may be a part of a letter.
    """

    token: str
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    data: tuple[int, ...] | None = None


class Citation(msgspec.Struct, frozen=True):
    """A source that a provider names for words of its answer.

    `quote` holds those words, which begin at about the letter `start` (-1: not said) and are the `nth` of their like
    from 0; an empty `quote` means all words since the text's last block began. Filters may move words, so writers look
    for the quote in what they have written. `cited` is what the source says, `value` the citation as `dialect` has it.
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
    """A piece of the tool call number `index` of its choice; `id` and `name` come with its first piece.

    `signature` is Google's. `custom` says that the arguments are text of any form (a custom tool of OpenAI's).
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    signature: str = ""
    custom: bool = False
    own: Own = None


class ChoiceDelta(msgspec.Struct, frozen=True):
    """A piece of answer number `index`. Within one delta the same index may come again: the order is the answer's.

    `signature` closes the reasoning before it, or, of Gemini's, the words before it where there is none; `signed_by`
    names the dialect whose vendor made it. `redacted` is reasoning that Anthropic keeps sealed. `citations` belong to
    the words before them. `begins` says that a block of text begins, where the dialect has blocks.
    `extra` holds what only the provider's own dialect can say of the message (a content block, pictures, ...), `own`
    what it says beside the message.
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
        """Whether a caller would see anything of it: words, thoughts, a tool call, a refusal, a block of its own."""
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
    def says_something(self) -> bool:
        """Whether it must go on: a piece whose words are all held back may still end something, or begin it."""
        return bool(self.has_content or self.finish or self.begins or self.own)

    @property
    def closes(self) -> bool:
        """Whether the words and thoughts up to its own are complete, so that none of them may come after it."""
        return bool(self.finish or self.signature or self.citations or (self.own and PART in self.own))

    @property
    def parts_words(self) -> bool:
        """Whether it stands between words, so that those held back must go out before it.

        Fields beside the message don't: a word may be told in two pieces with such a field between them.
        """
        return bool(self.closes or self.extra or self.begins or self.redacted)


class Delta(msgspec.Struct, frozen=True):
    """One increment. `raw` is the event's JSON (or the whole body), `event` its name where the dialect names events.

    `tier` is the service tier that the provider says it has served, as `contract.service_tier` names it. `own` are the
    fields of the whole answer that only one dialect knows, its `usage` as the provider wrote it among them.
    """

    choices: tuple[ChoiceDelta, ...] = ()
    usage: Usage | None = None
    id: str = ""
    model: str = ""
    raw: bytes = b""
    event: str = ""
    tier: str = ""
    own: Own = None
