"""The command `gatehouse`. Results go to stdout, errors to stderr. Exit codes: 0 success, 1 failure, 2 invalid input.

Each command imports what it needs itself: `check` and `--help` must not wait for a server's libraries.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.commands.access import ACCESS_COMMANDS, backup, usage
from gateway.commands.options import (
    DEFAULT_CONFIG,
    FileArgument,
    FileOption,
    JsonOption,
    SameFileOption,
    fail,
    fail_config,
    load_config,
    load_config_to_run,
    load_config_with_places,
)
from observability.screen import show, styled

if TYPE_CHECKING:
    from config import Config

PACKAGES = ("gateway", "guardrails", "access", "rag", "cache", "router", "observability", "config", "contract")

app = typer.Typer(
    name="gatehouse",
    help="One HTTP endpoint between your applications and every model they use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they print local variables, which may contain keys
    rich_markup_mode=None,
)
config_commands = typer.Typer(help="Print the configuration.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_commands, name="config")
for name, commands in ACCESS_COMMANDS.items():
    app.add_typer(commands, name=name)
app.command(name="usage")(usage)
app.command(name="backup")(backup)
eval_commands = typer.Typer(help="Measure quality on your own cases.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(eval_commands, name="eval")


def main() -> None:
    """Runs the command line."""
    foreign = foreign_package(Path(__file__).resolve().parents[2])
    if foreign:
        sys.stderr.write(f"gatehouse: another package shadows {foreign}: install it into another environment\n")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not have is written as \u6a21, and is no reason to fail.
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    if any(name.startswith("GATEHOUSE_") for name in os.environ):
        _warn_of_variables()
    app(prog_name="gatehouse")


def _warn_of_variables() -> None:
    from gateway.commands.variables import files_of, unknown_variables

    for line in unknown_variables(os.environ, files_of(sys.argv[1:], os.environ, DEFAULT_CONFIG)):
        sys.stderr.write(f"gatehouse: {line}\n")


def foreign_package(home: Path) -> str:
    """Returns the name and path of a package that shadows one of ours; empty if there is none."""
    from importlib.util import find_spec

    for name in PACKAGES:
        spec = find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is None or Path(origin).resolve().parents[1] != home:
            return f"{name} ({origin or 'missing'})"
    return ""


def _version() -> str:
    from gateway import __version__

    return __version__


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"gatehouse {_version()}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One HTTP endpoint between your applications and every model they use."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(f"gatehouse {_version()}")


@app.command()
def check(file: FileArgument = DEFAULT_CONFIG, config_file: SameFileOption = None) -> None:
    """Check a configuration without starting anything; exit code 2 and all errors if it is invalid.

    What is valid but probably not intended is a warning; the exit code stays 0.
    """
    from gateway.commands.advice import advise

    file = config_file or file
    config, places = load_config_with_places(file)
    warnings = advise(config, places)
    for each in warnings:
        show(styled([("warning: ", "yellow"), *each.pieces(), ("\n", "")]), sys.stderr)
    counts = ", ".join(
        f"{len(entries)} {name if len(entries) != 1 else name.removesuffix('s')}"
        for name in ("providers", "models", "pipelines", "sources", "apps")
        if (entries := getattr(config, name))
    )
    warned = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
    typer.echo(f"ok: {counts or 'nothing configured'} ({file}, {config.digest}){warned}")


@config_commands.command("show")
def config_show(
    file: FileArgument = DEFAULT_CONFIG, as_json: JsonOption = False, config_file: SameFileOption = None
) -> None:
    """Print the effective configuration, including defaults, with secrets masked."""
    from config import show, show_json

    config = load_config(config_file or file)
    typer.echo(show_json(config) if as_json else show(config), nl=False)


@config_commands.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration file, for editors."""
    from gateway.assembly.configuration import schema

    typer.echo(json.dumps(schema(), indent=2, ensure_ascii=False))


@config_commands.command("docs")
def config_docs() -> None:
    """Print the reference of all settings as Markdown."""
    from gateway.assembly.configuration import manual

    typer.echo(manual(), nl=False)


@app.command()
def plugins(as_json: JsonOption = False) -> None:
    """List all kinds of components and the packages that provide them; exit code 1 if one can't be loaded."""
    from gateway.assembly.catalog import KINDS
    from gateway.commands.plugins import print_plugins

    if not print_plugins(KINDS, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def plan(model: str, file: FileOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Print the path that a request for MODEL takes."""
    from access.ledger.pricing import unpriced_targets
    from gateway.commands.plan import draw_plan
    from gateway.commands.plan import plan as plan_path

    config = load_config(file)
    try:
        path = plan_path(config, model, partial(unpriced_targets, config))
    except LookupError as error:
        fail(str(error.args[0]))
    if as_json:
        typer.echo(json.dumps(path, indent=2, ensure_ascii=False))
    else:
        show(draw_plan(path))


@app.command()
def serve(
    file: FileOption = DEFAULT_CONFIG,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Overrides server.listen.")] = None,
) -> None:
    """Start the gateway."""
    from gateway.process.app import serve as serve_until_stopped

    raise typer.Exit(serve_until_stopped(file, listen))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 9090,
    script: Annotated[str | None, typer.Option(help="The faults to simulate; see --list.")] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Print the faults and exit.")] = False,
) -> None:
    """Start a fake provider that speaks every dialect and simulates every fault."""
    if only_list:
        from gateway.simulator.behaviours import behaviours_help

        typer.echo(behaviours_help())
        return
    from gateway.simulator.server import main as run_simulator

    run_simulator(host, port, script)


@app.command()
def demo(
    only_check: Annotated[bool, typer.Option("--check", help="Exit after the demonstration.")] = False,
) -> None:
    """Run the demo; no API keys and no network access needed."""
    from config import ConfigError
    from gateway.commands.demo import run

    try:
        raise typer.Exit(run(only_check))
    except ConfigError as error:  # of an extra that is not installed
        fail_config(error)


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="The name of the source.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files and folders, for a source of kind documents.", exists=True)
    ] = None,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Read and embed what is new in a source. Running servers use it within seconds."""
    import asyncio

    from gateway.commands.ingest import ingest as run

    loaded = load_config_to_run(config)
    _check_source(loaded, source)
    try:
        report = asyncio.run(run(loaded, source, paths or ()))
    except (ValueError, OSError) as error:
        fail(str(error), 1 if isinstance(error, OSError) else 2)
    for name, reason in (*report.failed, *report.notes):
        typer.echo(f"{name}: {reason}", err=True)
    typer.echo(report.line())
    if report.failed:
        raise typer.Exit(1)


def _fail_unknown(noun: str, name: str, known: Iterable[str]) -> NoReturn:
    from config.findings import did_you_mean

    fail(f"there is no {noun} {name}; {did_you_mean(name, known) or 'none is configured'}")


def _check_source(config: Config, name: str) -> None:
    if name not in config.sources:
        _fail_unknown("source", name, config.sources)


@app.command()
def ask(
    question: str,
    model: Annotated[str, typer.Option(help="The model to ask.")],
    explain: Annotated[bool, typer.Option("--explain", help="Print the passages and the trace.")] = False,
    labels: Annotated[list[str] | None, typer.Option("--label", help="A label of the app; repeatable.")] = None,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Ask a model of the configuration one question, without a server."""
    import asyncio

    from gateway.commands.ask import ask as run

    loaded = load_config_to_run(config)
    if model not in loaded.models:
        _fail_unknown("model", model, loaded.models)
    raise typer.Exit(asyncio.run(run(loaded, model, question, frozenset(labels or ()), explain=explain)))


@eval_commands.command("retrieval")
def eval_retrieval(
    source: Annotated[str, typer.Argument(help="The source to search.")],
    questions: Annotated[
        Path, typer.Option(help="Questions and the documents that answer them, one JSON object a line.", exists=True)
    ],
    learn: Annotated[bool, typer.Option("--learn", help="Find the best words_weight for this source.")] = False,
    chart: Annotated[Path | None, typer.Option(help="Write a chart to this SVG file.")] = None,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Measure how well a source's search finds the documents that answer your questions, by search method."""
    import asyncio

    from gateway.commands.eval_retrieval import charts, measure, scores_table

    loaded = load_config_to_run(config)
    _check_source(loaded, source)
    try:
        scores, weights = asyncio.run(measure(loaded, source, questions, learn=learn))
    except ValueError as error:
        fail(str(error))
    show(scores_table(scores))
    for line in weights.lines() if weights is not None else ():
        typer.echo(line)
    if chart is not None:
        for end, picture in charts(source, scores, weights).items():
            chart.with_stem(chart.stem + end).write_text(picture)


@eval_commands.command("cache")
def eval_cache(
    pairs: Annotated[Path, typer.Argument(help="Pairs of questions with the same meaning.", exists=True)],
    max_false_hit_rate: Annotated[
        float, typer.Option("--max-false-hit-rate", "--wrong-hits", help="The largest allowed share of false hits.")
    ] = 0.01,
    chart: Annotated[Path | None, typer.Option(help="Write a chart to this SVG file.")] = None,
) -> None:
    """Measure right and false hits of the semantic cache on pairs of questions and on near misses of them."""
    import asyncio

    from gateway.commands.eval_cache import measure

    try:
        report = asyncio.run(measure(pairs, max_false_hit_rate))
    except ValueError as error:
        fail(str(error))
    report.show()
    if chart is not None:
        chart.write_text(report.chart())


@app.command()
def route(
    text: Annotated[str, typer.Argument(help="The question.")],
    router: Annotated[str, typer.Option(help="The router. Default: the first in the file.")] = "",
    as_app: Annotated[str, typer.Option("--app", help="The app that sends the question.")] = "",
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Print what a router decides for a question, and why."""
    import asyncio

    from gateway.commands.route import explain

    loaded = load_config_to_run(config)
    try:
        asyncio.run(explain(loaded, router or next(iter(loaded.routers), ""), text, as_app))
    except ValueError as error:
        fail(str(error))


@eval_commands.command("router")
def eval_router(
    cases: Annotated[Path, typer.Argument(help="Questions and their intents, one JSON object a line.", exists=True)],
    router: Annotated[str, typer.Option(help="The router. Default: the first in the file.")] = "",
    chart: Annotated[Path | None, typer.Option(help="Write a chart of cost against quality to this SVG file.")] = None,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Measure how well a router recognises intents, and the quality that a simple model would cost."""
    import asyncio

    from gateway.commands.route import measure

    loaded = load_config_to_run(config)
    try:
        measured = asyncio.run(measure(loaded, router or next(iter(loaded.routers), ""), cases))
    except ValueError as error:
        fail(str(error))
    measured.show()
    if chart is not None:
        chart.write_text(measured.chart)


@eval_commands.command("guardrails")
def eval_guardrails(
    cases: Annotated[list[Path], typer.Argument(help="Files of cases, one JSON object a line.", exists=True)],
    pipeline: Annotated[str, typer.Option(help="The pipeline whose guardrails to measure.")],
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Measure what a pipeline's guardrails find and what they miss in labelled texts."""
    import asyncio

    from gateway.commands.eval_guardrails import measure

    loaded = load_config_to_run(config)
    chosen = loaded.pipelines.get(pipeline)
    if chosen is None:
        _fail_unknown("pipeline", pipeline, loaded.pipelines)
    try:
        report = asyncio.run(measure(loaded, chosen, cases))
    except ValueError as error:
        fail(str(error))
    report.show()
