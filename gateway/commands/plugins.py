"""`gatehouse plugins`: lists every kind of component, and the package that provides it."""

from __future__ import annotations

import json

import msgspec
import typer

from config.kinds import KindEntry, Kinds
from gateway import __version__
from observability.screen import show, table

_OURS = "gatehouse-platform"


class Plugin(msgspec.Struct, frozen=True):
    """One kind. `problem` is the reason why it can't be loaded; empty if it can."""

    seam: str
    kind: str
    place: str
    package: str
    version: str
    problem: str


def plugins(kinds: Kinds) -> list[Plugin]:
    """Returns all kinds by seam, built-in ones first. Imports the kinds of other packages."""
    return [_plugin(each) for each in kinds.offers()]


def _plugin(offer: KindEntry) -> Plugin:
    package, version = (offer.package, offer.version) if offer.package else (_OURS, __version__)
    return Plugin(offer.seam, offer.kind, offer.place, package, version, offer.problem)


def print_plugins(kinds: Kinds, *, as_json: bool) -> bool:
    """Prints all kinds, as a table or as JSON. Returns whether all can be loaded."""
    found = plugins(kinds)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    else:
        rows = [(each.seam, each.kind, each.place, f"{each.package} {each.version}".rstrip()) for each in found]
        show(table(("adds to", "kind", "defined in", "package"), rows))
    broken = [each for each in found if each.problem]
    for each in broken:
        typer.echo(f"{each.seam} {each.kind} can't be used: {each.problem}", err=True)
    return not broken
