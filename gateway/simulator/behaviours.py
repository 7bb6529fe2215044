"""The behaviours of the simulator: words joined by `-`, such as `429-after2` or `n200-pace20`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

WORDS: dict[str, str] = {
    "ok": "a normal response (the default)",
    "400": "400 401 403 404 429 500 503 529: this status with the vendor's error body",
    "after#": "with a status: retry-after of # seconds",
    "context": "the vendor's error for a prompt that is too long",
    "refuse": "closes the connection without a response",
    "hang": "never responds",
    "slow#": "# ms between the headers and the first event (buffered: before everything)",
    "stall#": "stops after # events with an open connection (buffered: after half of the body; 0: after the headers)",
    "cut#": "drops the connection after # events (buffered: after half of the body; 0: after the headers)",
    "reset": "with a cut: a TCP reset instead of a close",
    "cutclean#": "ends the HTTP body correctly after # events, without the dialect's end marker",
    "cutbyte": "drops the connection between two bytes of one character",
    "malformed#": "event number # is invalid JSON (buffered: the body)",
    "error200": "the vendor's error with status 200, as the first event",
    "erroreven#": "the vendor's error in the stream after # events",
    "empty": "a valid response without content",
    "emptybody": "a 200 with no body",
    "html": "a 200 with a login page",
    "safety": "ends because of the vendor's content policy",
    "length": "ends at the token limit",
    "n#": "# words",
    "pace#": "# ms between events",
    "burst": "all events in one write",
    "bytes1": "one byte at a time",
    "tools": "two parallel tool calls",
    "json": "JSON that conforms to the requested schema",
    "reason": "reasoning before the response",
    "logprobs": "log probabilities, requested or not",
    "echo": "responds with the last user text",
    "cached#": "# of the prompt's tokens were read from the cache",
    "nousage": "never reports usage",
    "latency#": "# ms before the response headers",
    "interim#": "an interim response with status # first (without number: 100, 102 and 103)",
    "as#": "with error200 and erroreven: the vendor's error for status #",
    "enderror": "ends with a finish reason for an error",
    "endmalformed": "ends with a finish reason for a malformed call",
    "endother": "ends with the vendor's finish reason for other causes",
    "endunknown": "ends with an unknown finish reason",
    "endnone": "ends without a finish reason, but with the vendor's end marker",
    "endcall": "ends with the finish reason for a call, without a call",
    "cutargs": "a call's arguments are truncated, the end is clean",
    "deepargs": "a call's arguments are nested 100,000 deep",
    "deep#": "event number # is nested 100,000 deep (buffered: the body)",
    "deeperror": "500 with an error nested 100,000 deep",
    "giant#": "one event (buffered: the body) is # kB larger, 1024 without number",
    "floodwords": "endless text",
    "floodcalls": "endless tool calls",
    "floodchoices": "endless choices (Anthropic: blocks)",
    "floodparts": "endless empty parts, deltas or pings",
    "floodcomments": "endless SSE comments (buffered: whitespace)",
    "floodinterim": "endless interim responses",
    "gzip": "compressed with gzip without being asked",
    "deflate": "compressed with deflate without being asked",
    "br": "content-encoding br, but not compressed",
    "zstd": "content-encoding zstd, but not compressed",
    "lie": "with gzip and deflate: only the header, not compressed",
    "cutchunk#": "drops the connection within an HTTP chunk after # events (buffered: after half of the body)",
    "longer": "content-length is ten bytes more than the body, then closes",
    "shorter": "content-length is half of the body",
}
STATUSES = (400, 401, 403, 404, 429, 500, 503, 529)
_WORD = re.compile(r"([a-z]+)(\d*)\Z")


class Behaviour(msgspec.Struct, frozen=True):
    """A parsed behaviour: its words with their numbers (-1: none), and an error status (0: none)."""

    words: dict[str, int]
    status: int = 0

    def has(self, word: str) -> bool:
        """Whether the behaviour contains the word."""
        return word in self.words

    def number(self, word: str, default: int = 0) -> int:
        """The number after a word."""
        number = self.words.get(word, -1)
        return default if number < 0 else number


def parse(text: str) -> Behaviour:
    """Parses a behaviour; `cut5` equals `cut-5`. Raises `ValueError` for an unknown word, with a suggestion."""
    words: dict[str, int] = {}
    status = 0
    wants_number = ""
    for part in text.strip().split("-"):
        if part.isdigit() and int(part) in STATUSES:
            status = int(part)
        elif part.isdigit() and wants_number:
            words[wants_number] = int(part)
        elif part in WORDS:
            words[part] = -1
        else:
            match = _WORD.match(part)
            if match is None or f"{match[1]}#" not in WORDS:
                raise ValueError(_unknown(part, text))
            words[match[1]] = int(match[2]) if match[2] else -1
            wants_number = "" if match[2] else match[1]
            continue
        wants_number = ""
    return Behaviour(words, status)


def _unknown(part: str, text: str) -> str:
    known = [word.rstrip("#") for word in WORDS]
    near = difflib.get_close_matches(part, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
    return f"unknown behaviour '{part}' in '{text}'{hint}"


class Script:
    """The behaviours by model, `*` for any model. A list is used in order; its last item repeats."""

    def __init__(
        self, script: Mapping[str, str | Sequence[str]] | None = None, says: Mapping[str, str] | None = None
    ) -> None:
        """`says` maps a model to the text of its responses. Raises `ValueError` for an unknown behaviour."""
        self.says = dict(says or {})
        self._queues: dict[str, list[Behaviour]] = {}
        for model, behaviours in (script or {}).items():
            listed = [behaviours] if isinstance(behaviours, str) else list(behaviours)
            self._queues[model] = [parse(each) for each in listed] or [parse("ok")]

    def next(self, model: str, header: str) -> Behaviour:
        """The behaviour from the header, the script, or a model name `sim-...`; default `ok`. Raises `ValueError`."""
        if header:
            return parse(header)
        queue = self._queues.get(model) or self._queues.get("*")
        if queue is not None:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        if model.startswith("sim-"):
            return parse(model.removeprefix("sim-"))
        return parse("ok")


def behaviours_help() -> str:
    """The behaviour words, one per line."""
    return "\n".join(f"  {word:<12} {text}" for word, text in WORDS.items())
