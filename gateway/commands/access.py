"""`gatehouse keys | apps | teams | organisations | usage | audit | backup`: work on the database, without a server.

Running servers apply a change within a second.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from contract.units import write_amount
from gateway.commands.options import DEFAULT_CONFIG, FileOption, JsonOption, fail, load_config
from observability.screen import show, table

if TYPE_CHECKING:
    from decimal import Decimal

    from config import Config
    from gateway.admin.administration import Administration, Kind

R = TypeVar("R")
_KINDS: tuple[Kind, ...] = ("organisation", "team", "app")


def _group(help_text: str) -> typer.Typer:
    return typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)


keys = _group("Manage callers' keys.")
audit = _group("Read and verify the audit log.")
ACCESS_COMMANDS = {
    "keys": keys,
    **{f"{kind}s": _group(f"Manage {kind}s in the database, and list those in the YAML file too.") for kind in _KINDS},
    "audit": audit,
}
_NameArgument = Annotated[str, typer.Argument(metavar="NAME")]
_OptionsOption = Annotated[
    str, typer.Option("--options", help='Its options, as in the YAML file but as JSON: {"models": ["quick"]}.')
]
_Several = Annotated[list[str] | None, typer.Option(help="Restrict the key to this; repeatable.")]


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _with_database(path: Path) -> tuple[Config, str]:
    """Returns the configuration and its database URL. Call it before importing a package of a database extra."""
    config = load_config(path)
    if config.server.database is None:
        fail("no database is configured: add server.database, such as sqlite:///var/gatehouse.db")
    return config, config.server.database.reveal()


def _administrate(path: Path, act: Callable[[Administration], Awaitable[R]], *, makes: bool = False) -> R:
    """Runs `act`; an error ends the command.

    A missing SQLite database is created only if `makes` is true, so that a mistyped URL is an error and no empty list.
    """
    config, address = _with_database(path)

    from sqlalchemy.exc import SQLAlchemyError

    from access.callers.errors import Conflict, NotFound
    from access.database.store import Database
    from gateway.admin.administration import Administration

    file = address.removeprefix("sqlite:///")
    if address.startswith("sqlite:///") and not makes and not Path(file).exists():
        fail(f"there is no database at {file}: start a server or run `gatehouse keys create` to create it")

    async def run() -> R:
        database = Database(address)
        try:
            return await act(Administration(lambda: config, database))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (NotFound, Conflict, ValueError) as error:
        fail(str(error))
    except (OSError, TimeoutError, SQLAlchemyError) as error:
        fail(f"the database can't be reached ({type(error).__name__})", 1)


@keys.command("create")
def create_key(
    app: Annotated[str, typer.Option(help="The app that the key belongs to.")],
    name: Annotated[str, typer.Option(help="A name to recognise the key by.")] = "",
    expires: Annotated[str, typer.Option(help="A time, or a duration from now: 90d, 12h.")] = "",
    model: _Several = None,
    pipeline: _Several = None,
    source: _Several = None,
    surface: _Several = None,
    network: _Several = None,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Create a key and print it once. The lists restrict the key to a part of what its app may use."""
    restrictions = {"models": model, "pipelines": pipeline, "sources": source, "surfaces": surface, "networks": network}
    options = {name: values for name, values in restrictions.items() if values}
    view, key = _administrate(config, lambda desk: desk.create_key(_actor(), app, name, expires, options), makes=True)
    typer.echo(f"{view.id} of {view.app}, expires {view.expires or 'never'}. It is shown only once:", err=True)
    typer.echo(key)


@keys.command("list")
def list_keys(
    app: Annotated[str, typer.Option(help="Only the keys of this app.")] = "",
    as_json: JsonOption = False,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """List the keys in the database, newest first. Keys in the YAML file are not listed."""
    found = _administrate(config, lambda desk: desk.keys(app))
    if as_json:
        _print_json(found)
        return
    head = ("id", "app", "name", "state", "created", "expires", "narrowed to")
    rows = [
        (each.id, each.app, each.name, each.state, each.created, each.expires or "never", _flat(each.options))
        for each in found
    ]
    show(table(head, rows))


@keys.command("rotate")
def rotate_key(
    identity: Annotated[str, typer.Argument(metavar="ID")],
    overlap: Annotated[str, typer.Option(help="How long the old key stays valid; 0 revokes it now.")] = "24h",
    expires: Annotated[str, typer.Option(help="A time, or a duration from now. Default: as the old key.")] = "",
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Create a key that replaces another one, which stays valid for a while."""
    view, key = _administrate(config, lambda desk: desk.rotate_key(_actor(), identity, overlap, expires))
    message = f"{view.id} replaces {view.replaces}, expires {view.expires or 'never'}"
    typer.echo(f"{message}. It is shown only once:", err=True)
    typer.echo(key)


@keys.command("revoke")
def revoke_key(identity: Annotated[str, typer.Argument(metavar="ID")], config: FileOption = DEFAULT_CONFIG) -> None:
    """Revoke a key. Running servers reject it within a second."""
    _administrate(config, lambda desk: desk.revoke_key(_actor(), identity))
    typer.echo(f"{identity} revoked")


@keys.command("hash")
def hash_keys() -> None:
    """Read a key from stdin and print its hash for `apps` in the YAML file."""
    from config import hash_key

    key = sys.stdin.readline().strip()
    if not key:
        fail('no key on stdin; use: echo "$KEY" | gatehouse keys hash')
    typer.echo(f"sha256:{hash_key(key)}")


def _add_party_commands(kind: Kind) -> None:
    group = ACCESS_COMMANDS[f"{kind}s"]

    def put(name: str, options: str, config: Path, *, new: bool) -> None:
        read = _read_options(options)
        _administrate(config, lambda desk: desk.put_party(_actor(), kind, name, read, new=new), makes=new)

    @group.command("add")
    def add(name: _NameArgument, options: _OptionsOption = "{}", config: FileOption = DEFAULT_CONFIG) -> None:
        put(name, options, config, new=True)
        typer.echo(f"{kind} {name} added")

    @group.command("change")
    def change(name: _NameArgument, options: _OptionsOption, config: FileOption = DEFAULT_CONFIG) -> None:
        put(name, options, config, new=False)
        typer.echo(f"{kind} {name} changed")

    @group.command("list")
    def list_parties(as_json: JsonOption = False, config: FileOption = DEFAULT_CONFIG) -> None:
        found = _administrate(config, lambda desk: desk.parties(kind))
        if as_json:
            _print_json(found)
        else:
            rows = [(each.name, each.source, _flat(each.options)) for each in found]
            show(table(("name", "from", "options"), rows))

    @group.command("remove")
    def remove(name: _NameArgument, config: FileOption = DEFAULT_CONFIG) -> None:
        _administrate(config, lambda desk: desk.remove_party(_actor(), kind, name))
        typer.echo(f"{kind} {name} removed")

    add.__doc__ = f"Add {_article(kind)} to the database."
    change.__doc__ = f"Replace all options of {_article(kind)}."
    list_parties.__doc__ = f"List the {kind}s in the YAML file and in the database."
    remove.__doc__ = f"Remove {_article(kind)} from the database" + (", and revoke its keys." if kind == "app" else ".")


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'ao' else 'a'} {kind}"


for _kind in _KINDS:
    _add_party_commands(_kind)


def usage(
    by: Annotated[
        str,
        typer.Option(help="Comma-separated groups: organisation, team, app, key, user, model, target, day, hour."),
    ] = "app",
    since: Annotated[str, typer.Option(help="2026-07-21, 2026-07-21T14:30Z, or 90m, 24h, 7d ago.")] = "30d",
    until: Annotated[str, typer.Option(help="The end, in the same formats. Default: now.")] = "",
    only: Annotated[list[str] | None, typer.Option(help="A filter, such as team=support; repeatable.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: JsonOption = False,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Print usage and cost from the ledger, in full hours."""
    settings, _ = _with_database(config)

    from access.ledger import reports

    groups = list(dict.fromkeys(each.strip() for each in by.split(",") if each.strip()))
    if wrong := [each for each in only or () if "=" not in each]:
        fail(f"--only {wrong[0][:60]} is not a filter: write it like team=support")
    where = dict(each.partition("=")[::2] for each in only or ())

    async def ask(desk: Administration) -> tuple[list[reports.ReportRow], tuple[int, Decimal]]:
        begin, end = (reports.read_time(each, time.time()) if each else None for each in (since, until))
        if begin is not None and end is not None and begin >= end:
            raise ValueError("--since must be before --until")
        lines = await reports.usage(desk.database, groups, begin, end, where)
        return lines, await reports.unknown(desk.database, begin, end, where)

    lines, (unknown_count, max_cost) = _administrate(config, ask)
    if as_csv:
        typer.echo(reports.csv(groups, lines), nl=False)
    elif as_json:
        typer.echo(json.dumps([reports.as_object(groups, each) for each in lines], indent=2, ensure_ascii=False))
    else:
        show(table(*reports.cells(groups, lines), left=len(groups)))
    if unknown_count:
        requests = "1 request was" if unknown_count == 1 else f"{unknown_count} requests were"
        message = f"{requests} in flight when a gateway process died (outcome unknown)"
        typer.echo(
            f"{message}: the cost includes {write_amount(max_cost)} $, the most that they may have cost", err=True
        )
    _report_unreadable_journals(settings)


def _report_unreadable_journals(settings: Config) -> None:
    """Reports journal lines on this machine that the sums do not include."""
    from access.ledger.set_aside import SetAsideLines
    from config.folders import data_folder

    aside = SetAsideLines(data_folder(settings.server) / "journal")
    aside.refresh()
    if aside.lines:
        message = f"{aside.lines} lines in this machine's journals can't be read and are not included in any sum"
        typer.echo(f"{message}: {aside.where}", err=True)


@audit.command("list")
def list_audit(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The maximum number of rows.")] = 50,
    before: Annotated[int | None, typer.Option(help="Only rows with a smaller number.")] = None,
    as_json: JsonOption = False,
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """List the rows of the audit log, newest first."""
    from gateway.admin.administration import written_time

    found = _administrate(config, lambda desk: desk.audit.rows(before=before, limit=limit))
    if as_json:
        _print_json(found)
        return
    rows = [(str(each.number), written_time(each.at_ms), each.actor, each.action, each.subject, _flat(each.detail))
            for each in found]  # fmt: skip
    show(table(("number", "time", "actor", "action", "subject", "detail"), rows))


@audit.command("verify")
def verify_audit(
    head: Annotated[str, typer.Option(help="The head that an earlier run printed; detects a truncated end too.")] = "",
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Verify the chain of hashes; exit code 1 if a row was changed or removed."""
    found = _administrate(config, lambda desk: desk.audit.verify(head))
    if found.wrong:
        fail(f"row {found.wrong} of {found.count} is {found.why}", 1)
    typer.echo(f"intact: {found.count} rows, head {found.head}")


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    config: FileOption = DEFAULT_CONFIG,
) -> None:
    """Copy the database (keys, ledger, audit log) while servers run."""
    from access.opening import pepper_file

    settings = load_config(config).server
    url = settings.database.reveal() if settings.database is not None else ""
    if url.startswith("postgres"):
        fail(f'the database is PostgreSQL; use pg_dump: pg_dump --format=custom --file {file} --dbname "$DATABASE_URL"')
    if file.exists():
        fail(f"{file} already exists: choose another name")
    if not file.absolute().parent.is_dir():
        fail(f"there is no folder {file.absolute().parent}: create it first")
    _administrate(config, lambda desk: desk.database.copy_to(file))
    typer.echo(f"{file}: {file.stat().st_size} bytes")
    if settings.pepper is None:
        typer.echo(f"Store {pepper_file(settings)} too, elsewhere: without it no key in the copy is valid.", err=True)


def _read_options(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        fail(f"--options is not JSON: {error}")
    if not isinstance(read, dict):
        fail('--options must be a JSON object, such as {"models": ["quick"]}')
    return read


def _flat(value: Any) -> str:
    if not value:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"


def _print_json(structs: Any) -> None:
    import msgspec

    typer.echo(json.dumps(msgspec.to_builtins(structs), indent=2, ensure_ascii=False))
