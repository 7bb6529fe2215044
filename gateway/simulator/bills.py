"""What the simulator bills: books of its own, read off what went out, to hold a caller's against.

An answer whose usage went out after its last word costs that usage. One that never says it, and a stream that broke off
or whose client left before, cost what its usage had said by then, and no less than the words that were written, counted
as `estimate_tokens` counts; so does a body of which a part went out. A call that failed costs nothing, nor does an
answer of which nothing went out: unless its client has left, who pays for the prompt.
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

KEPT_BILLS = 250_000
KEPT_MODELS = 1000
_FREE = Tokens(0, 0)


class Bill(msgspec.Struct, frozen=True, gc=False):
    """One call. `input` includes `cached`, `output` includes `reasoning`; `told`: its usage had named all of it.

    `trace` is the trace id of the caller's `traceparent`, `whole` says that the answer went out to its end.
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
        self.bills: deque[Bill] = deque(maxlen=KEPT_BILLS)
        self.totals: dict[str, dict[str, int]] = {}

    def clear(self) -> None:
        """Begins anew."""
        self.bills.clear()
        self.totals.clear()

    def enter(self, request: Request, reply: ScriptedReply, play: Playback, *, left: bool) -> None:
        """A reply has been played as far as it went; `left` says that the client did not wait for more."""
        count, told = _count(reply, play)
        if left and count is _FREE and reply.wire is not None and reply.status == 200:
            count = Tokens(_prompt(reply), 0)
        trace = request.headers.get("traceparent", "").split("-")
        bill = Bill(
            request.serial,
            reply.model,
            trace[1] if len(trace) > 1 else "",
            reply.status,
            play.complete,
            told,
            count.prompt,
            count.completion,
            count.cached,
            count.thoughts,
        )
        self.bills.append(bill)
        if bill.model not in self.totals and len(self.totals) >= KEPT_MODELS:
            return
        total = self.totals.setdefault(bill.model, {"calls": 0, "input": 0, "output": 0, "cached": 0, "reasoning": 0})
        total["calls"] += 1
        for name in ("input", "output", "cached", "reasoning"):
            total[name] += getattr(bill, name)


def _count(reply: ScriptedReply, play: Playback) -> tuple[Tokens, bool]:
    """The tokens that are billed, and whether usage that went out has named them."""
    wire = reply.wire
    if wire is None or reply.status != 200 or (reply.frames is None and not play.complete and not play.body_sent):
        return _FREE, False
    events = list(_events(reply, play))
    if play.complete:
        # The last usage is the final one: what came before need not be read.
        for event in reversed(events):
            usage = wire.hear(event).usage
            if usage is not None:
                return usage, True
    heard = [wire.hear(event) for event in events]
    words = "".join(each.words for each in heard)
    place, said = next(((at, heard[at].usage) for at in reversed(range(len(heard))) if heard[at].usage), (0, None))
    if said is not None and said.completion and not any(each.words for each in heard[place + 1 :]):
        # All the words are in it: only the end of the stream is missing.
        words = ""
    if not words and said is None and not play.body_sent:
        return _FREE, False
    prompt = said.prompt if said is not None else _prompt(reply)
    said = said or _FREE
    return Tokens(prompt, max(said.completion, estimate_tokens(words)), said.cached, said.thoughts), False


def _closed(part: bytes) -> Any:
    """What the beginning of a body says: the longest piece of it that is JSON once its ends are put there."""
    text = part.decode("utf-8", "ignore")
    for end in range(len(text), 0, -1):
        ends, quoted, escaped = [], False, False
        for sign in text[:end]:
            if quoted:
                escaped, quoted = sign == "\\" and not escaped, escaped or sign != '"'
            elif sign == '"':
                quoted = True
            elif sign in "{[":
                ends.append("}" if sign == "{" else "]")
            elif sign in "}]" and ends:
                ends.pop()
        try:
            return json.loads(text[:end] + ('"' if quoted else "") + "".join(reversed(ends)))
        except ValueError:
            continue
    return {}


def _prompt(reply: ScriptedReply) -> int:
    """As long as nobody has counted it."""
    return sum(TOKENS_PER_MESSAGE + estimate_tokens(text) for text in reply.prompt)


def _events(reply: ScriptedReply, play: Playback) -> Iterator[dict[str, Any]]:
    """What went out, as far as it is JSON."""
    if reply.frames is None:
        body = json.loads(reply.body) if play.complete else _closed(play.body_sent)
        yield from (each for each in (body if isinstance(body, list) else [body]) if isinstance(each, dict))
        return
    for frame in play.frames[: play.frames_sent]:
        try:
            event = json.loads(frame.partition(b"data: ")[2])
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
