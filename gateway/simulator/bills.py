"""The simulator's billing: computed independently from the bytes that were sent, to verify a caller's ledger.

A response whose usage was sent after its last text costs that usage. Without such usage (never sent, the stream was
cut, or the client disconnected before), it costs the usage sent so far, but at least the text sent, counted with
`estimate_tokens`; the same applies to a partially sent body. A failed call costs nothing. A response of which nothing
was sent costs nothing, unless the client disconnected: then it costs the prompt.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from contract.prompt_tokens import TOKENS_PER_MESSAGE
from contract.tokens import estimate_tokens
from gateway.simulator.answers import Tokens
from gateway.simulator.play import Playback
from gateway.simulator.routes import Request, ScriptedReply

MAX_BILLS = 250_000
MAX_MODELS = 1000
_FREE = Tokens(0, 0)


class Bill(msgspec.Struct, frozen=True, gc=False):
    """One call. `input` includes `cached`, `output` includes `reasoning`; `told`: the final usage was sent.

    `trace` is the trace id of the caller's `traceparent`; `whole`: the response was sent completely.
    """

    serial: str
    model: str
    trace: str
    status: int
    whole: bool
    told: bool
    input: int
    output: int
    cached: int
    reasoning: int


class BillingRecord:
    """All bills, oldest first, and their sums by model."""

    def __init__(self) -> None:
        self.bills: deque[Bill] = deque(maxlen=MAX_BILLS)
        self.totals: dict[str, dict[str, int]] = {}

    def clear(self) -> None:
        """Removes all bills."""
        self.bills.clear()
        self.totals.clear()

    def add(self, request: Request, reply: ScriptedReply, play: Playback, *, left: bool) -> None:
        """Adds the bill of a reply. `left`: the client disconnected before its end."""
        count, final = _count(reply, play)
        if left and count is _FREE and reply.wire is not None and reply.status == 200:
            count = Tokens(_estimate_prompt(reply), 0)
        trace = request.headers.get("traceparent", "").split("-")
        bill = Bill(
            request.serial,
            reply.model,
            trace[1] if len(trace) > 1 else "",
            reply.status,
            play.complete,
            final,
            count.prompt,
            count.completion,
            count.cached,
            count.thoughts,
        )
        self.bills.append(bill)
        if bill.model not in self.totals and len(self.totals) >= MAX_MODELS:
            return
        total = self.totals.setdefault(bill.model, {"calls": 0, "input": 0, "output": 0, "cached": 0, "reasoning": 0})
        total["calls"] += 1
        for name in ("input", "output", "cached", "reasoning"):
            total[name] += getattr(bill, name)


def _count(reply: ScriptedReply, play: Playback) -> tuple[Tokens, bool]:
    """The billed tokens, and whether the usage that was sent contains them."""
    wire = reply.wire
    if wire is None or reply.status != 200 or (reply.frames is None and not play.complete and not play.body_sent):
        return _FREE, False
    events = list(_events(reply, play))
    if play.complete:
        # The last usage is final, so earlier events need not be read.
        for event in reversed(events):
            usage = wire.parse_event(event).usage
            if usage is not None:
                return usage, True
    parsed = [wire.parse_event(event) for event in events]
    text = "".join(each.text for each in parsed)
    place, usage = next(((at, parsed[at].usage) for at in reversed(range(len(parsed))) if parsed[at].usage), (0, None))
    if usage is not None and usage.completion and not any(each.text for each in parsed[place + 1 :]):
        # The usage covers all text: only the end of the stream is missing.
        text = ""
    if not text and usage is None and not play.body_sent:
        return _FREE, False
    prompt = usage.prompt if usage is not None else _estimate_prompt(reply)
    usage = usage or _FREE
    return Tokens(prompt, max(usage.completion, estimate_tokens(text)), usage.cached, usage.thoughts), False


def _parse_prefix(part: bytes) -> Any:
    """Parses the start of a JSON body: the longest prefix that is valid once its brackets are closed."""
    text = part.decode("utf-8", "ignore")
    for end in range(len(text), 0, -1):
        ends, quoted, escaped = [], False, False
        for char in text[:end]:
            if quoted:
                escaped, quoted = char == "\\" and not escaped, escaped or char != '"'
            elif char == '"':
                quoted = True
            elif char in "{[":
                ends.append("}" if char == "{" else "]")
            elif char in "}]" and ends:
                ends.pop()
        try:
            return json.loads(text[:end] + ('"' if quoted else "") + "".join(reversed(ends)))
        except ValueError:
            continue
    return {}


def _estimate_prompt(reply: ScriptedReply) -> int:
    """An estimate of the prompt tokens, used until usage is sent."""
    return sum(TOKENS_PER_MESSAGE + estimate_tokens(text) for text in reply.prompt)


def _events(reply: ScriptedReply, play: Playback) -> Iterator[dict[str, Any]]:
    """The events that were sent, as far as they are JSON."""
    if reply.frames is None:
        body = json.loads(reply.body) if play.complete else _parse_prefix(play.body_sent)
        yield from (each for each in (body if isinstance(body, list) else [body]) if isinstance(each, dict))
        return
    for frame in play.frames[: play.frames_sent]:
        try:
            event = json.loads(frame.partition(b"data: ")[2])
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
