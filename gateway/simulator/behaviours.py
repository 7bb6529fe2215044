"""What the simulator can be told to do: words joined by `-`, such as `429-after2` or `n200-pace20`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

WORDS: dict[str, str] = {
    "ok": "a sensible answer (the default)",
    "400": "any of 400 401 403 404 429 500 503 529: that status with the vendor's error body",
    "after#": "with a status: retry-after of # seconds",
    "context": "the vendor's error for a prompt that is too long",
    "refuse": "closes the connection without an answer",
    "hang": "never answers",
    "slow#": "# ms between the headers and the first event (whole: before everything)",
    "stall#": "stops after # events, the connection stays open (whole: after half of the body; 0: after the headers)",
    "cut#": "drops the connection after # events (whole: after half of the body; 0: after the headers)",
    "reset": "with a cut: by a TCP reset instead of a close",
    "cutclean#": "ends the HTTP body properly after # events, without the dialect's own end",
    "cutbyte": "drops the connection between two bytes of one character",
    "malformed#": "event number # is broken JSON (whole: the body is)",
    "error200": "the vendor's error in a 200, first thing",
    "erroreven#": "the vendor's error in the stream after # events",
    "empty": "a well-formed answer with nothing in it",
    "emptybody": "a 200 with no body",
    "html": "a 200 with a login page",
    "safety": "ends for the vendor's content policy",
    "length": "ends at the token limit",
    "n#": "# words",
    "pace#": "# ms between events",
    "burst": "all events in one write",
    "bytes1": "one byte at a time",
    "tools": "two tool calls at once",
    "json": "JSON that fits the asked schema",
    "reason": "thoughts before the answer",
    "logprobs": "log probabilities, asked for or not",
    "echo": "answers with the last user text",
    "cached#": "# of the prompt's tokens came from the cache",
    "nousage": "never says its usage",
    "latency#": "# ms before the answer's headers",
    "interim#": "an interim answer with status # first (no number: 100, 102 and 103)",
    "as#": "with error200 and erroreven: the vendor's error for status #",
    "enderror": "ends with a reason that tells of an error",
    "endmalformed": "ends with a reason that tells of a malformed call",
    "endother": "ends with the vendor's word for another reason",
    "endunknown": "ends with a reason that nobody knows",
    "endnone": "ends without a reason, but with the vendor's end",
    "endcall": "ends with a call that is not there",
    "cutargs": "a call's arguments break off, the end is clean",
    "deepargs": "a call's arguments are nested 100,000 deep",
    "deep#": "event number # is nested 100,000 deep (whole: the body is)",
    "deeperror": "500 with an error nested 100,000 deep",
    "giant#": "one event (whole: the body) of # kB more, 1024 if unsaid",
    "floodwords": "words without end",
    "floodcalls": "tool calls without end",
    "floodchoices": "choices (Anthropic: blocks) without end",
    "floodparts": "empty parts, deltas or pings without end",
    "floodcomments": "SSE comments without end (whole: white space)",
    "floodinterim": "interim answers without end",
    "gzip": "packed so, though not asked to",
    "deflate": "packed so, though not asked to",
    "br": "announced as packed so, and not packed",
    "zstd": "announced as packed so, and not packed",
    "lie": "with gzip and deflate: announced only",
    "cutchunk#": "drops the connection within an HTTP chunk after # events (whole: after half of the body)",
    "longer": "announces ten bytes more than it sends, and closes",
    "shorter": "announces half of the bytes that it sends",
}
STATUSES = (400, 401, 403, 404, 429, 500, 503, 529)
_WORD = re.compile(r"([a-z]+)(\d*)\Z")


class Behaviour(msgspec.Struct, frozen=True):
    """A behaviour in effect: its words with their numbers (-1: none), and a status to fail with (0: none)."""

    words: dict[str, int]
    status: int = 0

    def has(self, word: str) -> bool:
        """Whether the word was said."""
        return word in self.words

    def number(self, word: str, default: int = 0) -> int:
        """The number behind a word."""
        number = self.words.get(word, -1)
        return default if number < 0 else number


def parse(text: str) -> Behaviour:
    """`cut5` and `cut-5` are the same. Raises `ValueError` that names an unknown word and the nearest one."""
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
    """Which request gets which behaviour: by model, `*` for any, each list used up one by one, its last repeating."""

    def __init__(
        self, script: Mapping[str, str | Sequence[str]] | None = None, says: Mapping[str, str] | None = None
    ) -> None:
        """`says` are the words of an answer, by model. Raises `ValueError` for an unknown word of behaviour."""
        self.says = dict(says or {})
        self._queues: dict[str, list[Behaviour]] = {}
        for model, behaviours in (script or {}).items():
            listed = [behaviours] if isinstance(behaviours, str) else list(behaviours)
            self._queues[model] = [parse(each) for each in listed] or [parse("ok")]

    def next(self, model: str, header: str) -> Behaviour:
        """Header first, then the script, then a model named `sim-...`, else `ok`. Raises `ValueError`."""
        if header:
            return parse(header)
        queue = self._queues.get(model) or self._queues.get("*")
        if queue is not None:
            return queue.pop(0) if len(queue) > 1 else queue[0]
        if model.startswith("sim-"):
            return parse(model.removeprefix("sim-"))
        return parse("ok")


def behaviours_help() -> str:
    """The words, one a line."""
    return "\n".join(f"  {word:<12} {text}" for word, text in WORDS.items())
