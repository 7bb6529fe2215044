"""`gatehouse route` and `gatehouse eval router`: print or measure the decisions of a router, without a server."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import typer

from config.findings import did_you_mean
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
    """A question with its intent (`none` if out of scope), and whether a simple model answers it correctly."""

    text: str
    intent: str = ""
    simple_ok: bool | None = None


def read_cases(path: Path) -> list[RouteCase]:
    """Reads one JSON object a line. Raises `ValueError` that names the line that can't be read."""
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
        raise ValueError(f"{path} contains no cases")
    return cases


class RouterReport(msgspec.Struct, frozen=True):
    """The result of `measure`: lines, mistakes as (intent, predicted, count), and costs as in `_costs`.

    `chart` is an SVG of cost against quality; empty if no case has `simple_ok`.
    """

    lines: list[str]
    mistakes: list[tuple[str, str, int]] = []
    costs: list[tuple[float, float, float]] = []
    chart: str = ""

    def show(self) -> None:
        """Prints the lines and the tables."""
        for line in self.lines:
            typer.echo(line)
        if self.mistakes:
            typer.echo()
            rows = [(intent, predicted, f"{count}") for intent, predicted, count in self.mistakes]
            show(table(("intent", "predicted", "count"), rows, 2))
        if self.costs:
            typer.echo()
            shares = [(f"{limit:.2f}", f"{share:.0%}", f"{quality:.1%}") for limit, share, quality in self.costs]
            show(table(("difficulty below", "to the simple model", "answered correctly"), shares, 0))


async def explain(config: Config, name: str, text: str, app: str) -> None:
    """Prints what the router decides for a question. Raises `ValueError`."""
    resources = Resources(HealthBook())
    router = await _open(config, name, resources)
    try:
        exchange = Exchange("gatehouse route")
        exchange.caller = Caller(app)
        request = _request(text)
        started = time.process_time()
        decision = router.rule(request, exchange) or await router.decide(request, exchange, _ask_no_model)
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
    details = about(decision)
    lines = [f"decided by {details.pop('by')}{f': {decision.name}' if decision.name else ''}"]
    if decision.say:
        lines.append(f"answers: {decision.say}{' (a person takes over)' if decision.human else ''}")
    elif decision.model or decision.pipeline:
        lines.append(f"goes to {'the pipeline ' if decision.pipeline else ''}{decision.model or decision.pipeline}")
    else:
        lines.append("continues in the pipeline")
    if decision.tools is not None:
        lines.append(f"offers the tools {', '.join(decision.tools) or 'none'}")
    return lines


async def measure(config: Config, name: str, path: Path) -> RouterReport:
    """Measures intent recognition, and the quality that a simple model would cost. Raises `ValueError`."""
    cases = read_cases(path)
    measured = RouterReport([])
    resources = Resources(HealthBook())
    router = await _open(config, name, resources)
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
        f"Cost against quality of {name}",
        "share of the simple model",
        "share answered correctly",
        {"difficulty": curve},
    )
    return msgspec.structs.replace(measured, costs=costs, chart=chart)


async def _intents(router: Routing, name: str, resources: Resources, cases: Sequence[RouteCase]) -> RouterReport:
    classifier = router.classifier if isinstance(router, Router) else None
    if classifier is None:
        raise ValueError(f"{name}: {router.status()}")
    vectors = await resources.embedder().vectors([each.text for each in cases])
    started = time.process_time()
    results = [classifier.classify(vector) for vector in vectors]
    microseconds = 1e6 * (time.process_time() - started) / len(cases)
    inside = [(case, each) for case, each in zip(cases, results, strict=True) if case.intent != NONE]
    outside = [each for case, each in zip(cases, results, strict=True) if case.intent == NONE]
    right = sum(each[0][0][0] == case.intent for case, each in inside)
    lines = [router.status()]
    if inside:
        accepted = sum(each[1] >= 0 for _, each in inside)
        lines.append(
            f"in scope: {right / len(inside):.1%} of {len(inside)} correct, {accepted / len(inside):.1%} accepted"
        )
    if outside:
        rejected = sum(each[1] < 0 for each in outside)
        lines.append(f"out of scope: {rejected / len(outside):.1%} of {len(outside)} rejected")
    if inside and outside:
        limit = sorted(each[1] for _, each in inside)[int(0.05 * len(inside))]
        rejected = sum(each[1] < limit for each in outside)
        lines.append(f"if 95 % in scope are accepted: {rejected / len(outside):.1%} out of scope are rejected")
    lines.append(f"a decision takes {microseconds:.0f} us without the embedding")
    mixed = Counter((case.intent, each[0][0][0]) for case, each in inside if each[0][0][0] != case.intent)
    return RouterReport(lines, [(*pair, count) for pair, count in mixed.most_common(_WORST)])


def _costs(cases: Sequence[RouteCase]) -> list[tuple[float, float, float]]:
    """Returns thresholds of the score, the share that goes to the simple model, and the share answered correctly.

    Assumes that the other model always answers correctly.
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


async def _open(config: Config, name: str, resources: Resources) -> Routing:
    found = config.routers.get(name)
    if found is None:
        raise ValueError(f"there is no router {name}; {did_you_mean(name, config.routers) or 'none is configured'}")
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


async def _ask_no_model(request: ChatRequest, model: str, *, masked: bool = False) -> Reply:
    """Fails: this command calls no model for a second opinion; a server does."""
    raise Unavailable(f"{model} is not called by this command")
