"""`gatehouse ask`: one question to a model of the configuration, without a server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from contract.caller import Caller
from contract.errors import GatehouseError
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from contract.unsettled import Unsettled
from gateway.assembly.building import build
from gateway.engine.resources import Resources
from observability.screen import show, table
from observability.waterfall import waterfall
from router.health import HealthBook

if TYPE_CHECKING:
    from config import Config
    from gateway.engine.runtime import Engine

_SHOWN = 240
_TOP = 10


async def ask(config: Config, model: str, question: str, labels: frozenset[str], *, explain: bool) -> int:
    """Prints the answer; with `explain`, prints the retrieved passages first. Returns the exit code."""
    resources = Resources(HealthBook())
    engine = await build(config, resources)
    try:
        for source in engine.sources.values():
            await source.ingest()
            await source.collection.catch_up()
        if explain:
            await _explain(config, engine, model, question, labels)
        exchange = Exchange("gatehouse ask")
        exchange.caller = Caller("command line", labels=labels)
        request = ChatRequest(dialect="openai", model=model, messages=(Message("user", (Text(question),)),))
        try:
            reply = await engine.pipeline.handle(request, exchange, Unsettled())
            try:
                while (deltas := await reply.next()) is not None:
                    sys.stdout.write("".join(piece.text for delta in deltas for piece in delta.choices))
            finally:
                await reply.close()
            exchange.status, exchange.outcome = 200, "ok"
            sys.stdout.write("\n")
        except GatehouseError as error:
            exchange.status, exchange.outcome = error.http_status, "error"
            sys.stderr.write(f"{error.message}\n")
        if explain:
            exchange.ended = exchange.steps[-1].ended if exchange.steps else exchange.started
            sys.stdout.write("\n")
            show(waterfall(exchange))
        return 0 if exchange.outcome == "ok" else 1
    finally:
        await engine.close()
        await resources.close()


async def _explain(config: Config, engine: Engine, model: str, question: str, labels: frozenset[str]) -> None:
    name = config.models[model].pipeline
    context = config.pipelines[name].context if name is not None else None
    if context is None:
        sys.stdout.write("this model does not use retrieval\n\n")
        return
    for source in context.sources:
        if source not in engine.sources:
            sys.stdout.write(f"{source}: rows, read by SQL that a model writes; see the trace below\n")
            continue
        sys.stdout.write(f"{source}: {engine.sources[source].status()}\n")
        rows = []
        for rank, found in enumerate(await engine.sources[source].explain(question, _TOP, labels), 1):
            passage = found.passage
            figures = (f"{rank}", f"{passage.score:.3f}", f"{found.words:.2f}", f"{found.cosine:.3f}")
            words = " ".join(passage.text.split())
            rows.append((*figures, f"{passage.source}, {passage.place}", words[:_SHOWN]))
        show(table(("rank", "score", "words", "meaning", "source", "passage"), rows))
    sys.stdout.write("\n")
