"""The cost of each part of a request, in isolation: `python -m bench.parts`. CPU microseconds, best of five."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from access.callers.keys import KeyRing, PresentedCredentials, digest
from bench.load import body
from contract.attempt import Attempt
from contract.caller import Caller
from contract.deltas import Delta, Usage
from contract.dialect import Dialect, InboundCall, WireOptions
from contract.exchange import Exchange
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings
from contract.prompt_tokens import prompt_tokens
from contract.provider import UpstreamCall
from contract.trace_context import new_span_id
from contract.unsettled import Unsettled
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat
from observability.metrics import Metrics
from observability.protobuf import encode
from observability.summary import summary
from observability.trace import spans
from router.dispatch import Dispatcher
from router.health import HealthBook
from router.policy import RoutePolicy, TargetPolicy

EVENTS = 200


def cost_us(part: Callable[[], Any], times: int = 2000) -> float:
    """CPU microseconds of one call."""
    part()
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            part()
        best = min(best, (time.process_time() - started) / times * 1e6)
    return best


class _Reply:
    """A whole answer that is there at once."""

    dialect = "openai"
    streamed = False

    def __init__(self, deltas: list[Delta]) -> None:
        self._deltas: list[Delta] | None = deltas

    async def next(self) -> list[Delta] | None:
        deltas, self._deltas = self._deltas, None
        return deltas

    async def close(self) -> None:
        pass


class _Provider:
    """A provider that costs nothing."""

    name = "up"
    dialect = "openai"
    trusted = False

    def __init__(self, deltas: list[Delta]) -> None:
        self._deltas = deltas

    async def open(self, request: ChatRequest, call: UpstreamCall) -> _Reply:
        return _Reply(self._deltas)

    async def embed(self, request: EmbeddingRequest, call: UpstreamCall) -> Embeddings:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def ledger() -> Exchange:
    """A request that one target answered."""
    exchange = Exchange("POST /v1/chat/completions")
    started = exchange.started
    exchange.caller = Caller("bench")
    exchange.model = exchange.route = "bench"
    exchange.record("admit", started)
    exchange.record("dispatch", started)
    exchange.attempts.append(
        Attempt("up/bench", "up", "bench", "openai", started=started, ended=started + 0.02, status=200, chosen=True,
                span_id=new_span_id(), usage=Usage(180, 42))
    )  # fmt: skip
    exchange.target, exchange.usage, exchange.finish = "up/bench", Usage(180, 42), "stop"
    exchange.status, exchange.outcome, exchange.ended = 200, "ok", started + 0.021
    return exchange


def dialects() -> list[tuple[str, float]]:
    """Requests and replies of each dialect."""
    asked = OpenAIChat().read_request(body("bench"), InboundCall())
    found: list[tuple[str, float]] = []
    each: Dialect
    for each in (OpenAIChat(), AnthropicMessages(), GeminiGenerate()):
        own = msgspec.structs.replace(asked, max_tokens=99)
        wire = each.write_request(own, WireOptions("m", stream=True)).body
        reading = partial(each.read_request, wire, InboundCall("m"))
        writing = partial(each.write_request, own, WireOptions("m", stream=True))
        found += [
            (f"{each.name}: read a request of 1 KB", cost_us(reading)),
            (f"{each.name}: write it", cost_us(writing)),
        ]
        stream = _stream_of(each, asked)

        def relay(dialect: Dialect = each, data: bytes = stream) -> bytes:
            streaming = msgspec.structs.replace(asked, stream=True)
            deltas = dialect.reply_reader(stream=True).feed(data)
            return dialect.reply_writer(streaming, reply_id="x", raw=True).feed(deltas)

        def convert(dialect: Dialect = each, data: bytes = stream) -> bytes:
            streaming = msgspec.structs.replace(asked, stream=True)
            deltas = dialect.reply_reader(stream=True).feed(data)
            return OpenAIChat().reply_writer(streaming, reply_id="x", raw=False).feed(deltas)

        found.append((f"{each.name}: a streamed event, read and passed on", cost_us(relay, 50) / EVENTS))
        found.append((f"{each.name}: a streamed event, read and written as OpenAI's", cost_us(convert, 50) / EVENTS))
    return found


def _stream_of(dialect: Dialect, asked: ChatRequest) -> bytes:
    from contract.deltas import ChoiceDelta

    writer = dialect.reply_writer(msgspec.structs.replace(asked, stream=True), reply_id="x", raw=False)
    return writer.feed([Delta((ChoiceDelta(text=f" word{n % 20:02d}"),), id="id") for n in range(EVENTS)])


def path() -> list[tuple[str, float]]:
    """Access, dispatch and the ledger."""
    asked = OpenAIChat().read_request(body("bench"), InboundCall())
    ring = KeyRing({digest(f"key-{n}"): Caller(f"app-{n}") for n in range(5000)})
    whole = OpenAIChat().reply_writer(asked, reply_id="x", raw=False)
    reader = OpenAIChat().reply_reader(stream=False)
    reader.feed(
        whole.finish().replace(b'"choices":[]', b'"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]')
    )
    dispatcher = Dispatcher({"up": _Provider(reader.finish())}, HealthBook())
    policy = RoutePolicy("bench", (TargetPolicy("up", "bench"),))

    async def dispatch() -> None:
        reply = await dispatcher.dispatch(asked, policy, Exchange("POST /v1/chat/completions"), Unsettled())
        while await reply.next() is not None:
            pass
        await reply.close()

    async def identified() -> None:
        for _ in range(2000):
            await ring.identify(PresentedCredentials("key-4000"))

    with asyncio.Runner() as runner:

        async def many() -> None:
            for _ in range(2000):
                await dispatch()

        dispatched = cost_us(lambda: runner.run(many()), 1) / 2000
        found = cost_us(lambda: runner.run(identified()), 1) / 2000
    return [
        ("find the caller of a key among 5,000", found),
        ("estimate the prompt's tokens (1 KB; only where a window is given)", cost_us(lambda: prompt_tokens(asked))),
        ("dispatch, one target, with a new ledger", dispatched),
    ]


def telemetry() -> list[tuple[str, float]]:
    """What becomes of a ledger."""
    metrics = Metrics("0", lambda: (), {}, lambda: 0)
    exchange = ledger()
    return [
        ("metrics of a request", cost_us(lambda: metrics.observe(exchange))),
        ("its trace of 4 spans, encoded", cost_us(lambda: [encode(each) for each in spans(exchange)])),
        ("its log line", cost_us(lambda: msgspec.json.encode(summary(exchange)))),
    ]


def main() -> None:
    """Prints a table."""
    print("| part | CPU us |\n|---|---|")
    for name, cost in [*dialects(), *path(), *telemetry()]:
        print(f"| {name} | {cost:.2f} |")


if __name__ == "__main__":
    main()
