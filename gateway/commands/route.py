"""`gatehouse route` and `gatehouse eval router`: what a router decides, and how well, without a server."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from contract.caller import Caller
from contract.errors import Unavailable
from contract.exchange import Exchange
from contract.messages import ChatRequest, Message, Text
from gateway.engine.pipeline import about
from gateway.engine.resources import Resources
from observability.chart import curves
from observability.screen import show, table
from router.assembly import open_router
from router.health import HealthBook
from router.intents.decide import Router
from router.intents.difficulty import difficulty

if TYPE_CHECKING:
    from config.root import Config
    from contract.phases import Decision, Routing
    from contract.reply import Reply

NONE = "none"
_WORST = 8


class RouteCase(msgspec.Struct, frozen=True):
    """A question with its intent (`none` for what is out of scope), and whether a simple model gets it right."""

    text: str
    intent: str = ""
    simple_ok: bool | None = None


def read_cases(path: Path) -> list[RouteCase]:
    """One JSON object a line. Raises `ValueError` naming the line that can't be read."""
    cases = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            try:
                cases.append(msgspec.convert(json.loads(line), RouteCase))
            except (json.JSONDecodeError, msgspec.ValidationError):
                raise ValueError(
                    f'{path}:{number}: write {{"text": "...", "intent": "name or none"}}, or "simple_ok": true'
                ) from None
    if not cases:
        raise ValueError(f"{path}: there are no cases")
    return cases


class Measured(msgspec.Struct, frozen=True):
    """What `measure` found: lines, mistakes as (intent, taken for, how often), and costs as of `_costs`.

    `chart` is an SVG of cost against quality; empty where no case says what simple models get right.
    """

    lines: list[str]
    mistakes: list[tuple[str, str, int]] = []
    costs: list[tuple[float, float, float]] = []
    chart: str = ""

    def show(self) -> None:
        """Prints it for people."""
        for line in self.lines:
            typer.echo(line)
        if self.mistakes:
            typer.echo()
            rows = [(wanted, got, f"{count}") for wanted, got, count in self.mistakes]
            show(table(("intent", "taken for", "times"), rows, 2))
        if self.costs:
            typer.echo()
            shares = [(f"{limit:.2f}", f"{share:.0%}", f"{quality:.1%}") for limit, share, quality in self.costs]
            show(table(("difficulty below", "to the simple model", "answered well"), shares, 0))


async def explain(config: Config, name: str, text: str, app: str) -> None:
    """Prints what the router decides for a question. Raises `ValueError`."""
    resources = Resources(HealthBook())
    router = await _opened(config, name, resources)
    try:
        exchange = Exchange("gatehouse route")
        exchange.caller = Caller(app)
        request = _request(text)
        started = time.process_time()
        decision = router.rule(request, exchange) or await router.decide(request, exchange, _asks_nobody)
        microseconds = 1e6 * (time.process_time() - started)
        for line in _lines(decision):
            typer.echo(line)
        if decision.candidates:
            show(table(("intent", "likely"), [(name, f"{likely:.3f}") for name, likely in decision.candidates], 1))
        typer.echo(f"{microseconds:.0f} us, {router.status()}")
    finally:
        await router.close()
        await resources.close()


def _lines(decision: Decision) -> list[str]:
    told = about(decision)
    lines = [f"decided by {told.pop('by')}{f': {decision.name}' if decision.name else ''}"]
    if decision.say:
        lines.append(f"says: {decision.say}{' (a person takes over)' if decision.human else ''}")
    elif decision.model or decision.pipeline:
        lines.append(f"goes to {'the pipeline ' if decision.pipeline else ''}{decision.model or decision.pipeline}")
    else:
        lines.append("goes on as the pipeline says")
    if decision.tools is not None:
        lines.append(f"offers the tools {', '.join(decision.tools) or 'none'}")
    return lines


async def measure(config: Config, name: str, path: Path) -> Measured:
    """How well the router tells intents apart, and what the simple model would cost in quality. Raises `ValueError`."""
    cases = read_cases(path)
    measured = Measured([])
    resources = Resources(HealthBook())
    router = await _opened(config, name, resources)
    try:
        if any(each.intent for each in cases):
            measured = await _intents(router, name, resources, [each for each in cases if each.intent])
    finally:
        await router.close()
        await resources.close()
    known = [each for each in cases if each.simple_ok is not None]
    if not known:
        return measured
    costs = _costs(known)
    curve = [(share, quality) for _, share, quality in costs]
    chart = curves(
        f"Cost against quality of {name}", "share of the simple model", "share answered well", {"difficulty": curve}
    )
    return msgspec.structs.replace(measured, costs=costs, chart=chart)


async def _intents(router: Routing, name: str, resources: Resources, cases: Sequence[RouteCase]) -> Measured:
    classifier = router.classifier if isinstance(router, Router) else None
    if classifier is None:
        raise ValueError(f"{name}: {router.status()}")
    vectors = await resources.embedder().vectors([each.text for each in cases])
    started = time.process_time()
    found = [classifier.classify(vector) for vector in vectors]
    microseconds = 1e6 * (time.process_time() - started) / len(cases)
    inside = [(case, each) for case, each in zip(cases, found, strict=True) if case.intent != NONE]
    outside = [each for case, each in zip(cases, found, strict=True) if case.intent == NONE]
    right = sum(each[0][0][0] == case.intent for case, each in inside)
    lines = [router.status()]
    if inside:
        kept = sum(each[1] >= 0 for _, each in inside)
        lines.append(f"in scope: {right / len(inside):.1%} of {len(inside)} right, {kept / len(inside):.1%} kept")
    if outside:
        caught = sum(each[1] < 0 for each in outside)
        lines.append(f"out of scope: {caught / len(outside):.1%} of {len(outside)} caught")
    if inside and outside:
        limit = sorted(each[1] for _, each in inside)[int(0.05 * len(inside))]
        caught = sum(each[1] < limit for each in outside)
        lines.append(f"at 95 % of these in scope kept: {caught / len(outside):.1%} of those out of scope caught")
    lines.append(f"a decision takes {microseconds:.0f} us after the embedding")
    mixed = Counter((case.intent, each[0][0][0]) for case, each in inside if each[0][0][0] != case.intent)
    return Measured(lines, [(*pair, count) for pair, count in mixed.most_common(_WORST)])


def _costs(cases: Sequence[RouteCase]) -> list[tuple[float, float, float]]:
    """Limits of the score, with the share that goes to the simple model, and the share that is answered well.

    The other model is taken to be right.
    """
    scored = [(difficulty(each.text), bool(each.simple_ok)) for each in cases]
    points = []
    for step in range(11):
        limit = sorted(score for score, _ in scored)[min(len(scored) - 1, step * len(scored) // 10)]
        limit = limit if step < 10 else 1.01
        simple = [right for score, right in scored if score < limit]
        wrong = len(simple) - sum(simple)
        points.append((limit, len(simple) / len(scored), 1 - wrong / len(scored)))
    return points


async def _opened(config: Config, name: str, resources: Resources) -> Routing:
    found = config.routers.get(name)
    if found is None:
        raise ValueError(f"there is no router {name}; known here: {', '.join(config.routers) or 'none'}")
    router = open_router(name, found, resources)
    await router.start()
    if not await router.ready():
        status = router.status()
        await router.close()
        await resources.close()
        raise ValueError(f"{name}: {status}")
    return router


def _request(text: str) -> ChatRequest:
    return ChatRequest(dialect="openai", model="", messages=(Message("user", (Text(text),)),))


async def _asks_nobody(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
    """No model is asked for an explanation: a second opinion is the server's."""
    raise Unavailable(f"{model} is not asked here")
