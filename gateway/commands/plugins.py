"""`gatehouse plugins`: every kind of component that a configuration may name, and the package that brings it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import typer

from access.ledger.aligned import aligned
from config.kinds import KindEntry, Kinds
from gateway import __version__

_OURS = "gatehouse-platform"


class Plugin(msgspec.Struct, frozen=True):
    """One kind. `problem` says why it can't be used; empty where it can."""

    seam: str
    kind: str
    place: str
    package: str
    version: str
    problem: str


def plugins(kinds: Kinds) -> list[Plugin]:
    """All kinds, by what they add to: ours first. Imports those of other packages."""
    return [_plugin(each) for each in kinds.offers()]


def _plugin(offer: KindEntry) -> Plugin:
    package, version = (offer.package, offer.version) if offer.package else (_OURS, __version__)
    return Plugin(offer.seam, offer.kind, offer.place, package, version, offer.problem)


def print_plugins(kinds: Kinds, *, as_json: bool) -> bool:
    """All kinds, for people or as JSON. Whether all can be used."""
    found = plugins(kinds)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))
    else:
        typer.echo(table(found), nl=False)
    return not any(each.problem for each in found)


def table(found: Sequence[Plugin]) -> str:
    """Lines for people: a row for each kind, and under it why it can't be used."""
    rows = [(each.seam, each.kind, each.place, f"{each.package} {each.version}".rstrip()) for each in found]
    head, *lines = aligned([("adds to", "kind", "defined in", "package"), *rows]).splitlines()
    shown = [head]
    for each, line in zip(found, lines, strict=True):
        shown.append(line)
        shown += [f"  can't be used: {each.problem}"] if each.problem else []
    return "\n".join(shown) + "\n"
