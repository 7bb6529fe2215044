"""What only shows when sections are read together. Works on the plain values, so that it runs beside other errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from config.document import Fault, Path, YamlDocument
from config.explain import place
from config.extras import missing_extras
from config.findings import Substituted, did_you_mean, nearest, quote
from config.guardrails import GuardrailConfig, Position
from config.listening import is_loopback, split_listen
from config.prices import FREE, ListedPrice
from config.raw import RawConfig
from config.secret import Secret
from config.shape import ConfigNode, write_path
from config.struct import Ref, Struct

_DEFAULT_LISTEN = "127.0.0.1:8080"


def crosscheck(document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """Names that lead nowhere, a pipeline that answers by a pipeline, a key of two apps, an open door."""
    if not isinstance(document.data, dict):
        return
    for spot in spots.values():
        if isinstance(spot.value, str) and spot.path not in document.unresolved:
            for marker in spot.markers:
                if isinstance(marker, Ref):
                    yield from _reference(marker, spot, document)
    yield from _nested_pipelines(document)
    yield from _guards(document, spots)
    yield from _conflicts(document, spots)
    yield from _routed(document, spots.values())
    yield from _priced(document, spots)
    yield from _shared_keys(document, spots.values())
    yield from _access(document)
    yield from _callable_apps(document)
    yield from _known_currencies(document)
    yield from _one_pepper(document)
    yield from _distinct_issuers(document)
    yield from missing_extras(document, spots.values())


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _reference(ref: Ref, spot: ConfigNode, document: YamlDocument) -> Iterator[Fault]:
    name, slash, rest = str(spot.value).partition("/") if ref.prefix else (str(spot.value), "", "")
    known = _section(document.data, ref.section)
    if name in known or name == ref.wildcard or not name or (ref.prefix and not slash):
        return
    close = nearest(name, known)
    if close:
        cure = (
            f"did you mean {close}?" if isinstance(spot.value, Substituted) else f"did you mean {close}{slash}{rest}?"
        )
    elif known:
        cure = did_you_mean(name, known)
    else:
        cure = f"add it under {ref.section}:"
    yield Fault(spot.path, place(document, spot.path), f"there is no {ref.noun} {quote(_like(name, spot.value))}", cure)


def _like(name: str, value: str) -> str:
    """The name, still known to come from a reference if the whole did."""
    return Substituted(name, value.reference) if isinstance(value, Substituted) else name


def _priced(document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    providers = _section(document.data, "providers")
    for target in _section(document.data, "prices"):
        name = str(target).partition("/")[0]
        if "/" in str(target) and "*" not in name and name not in providers:
            path = ("prices", target)
            cure = did_you_mean(name, providers) if providers else "add it under providers:"
            yield Fault(
                path, document.keys.get(path) or place(document, path), f"there is no provider {quote(name)}", cure
            )
    for spot in spots.values():
        named = any(isinstance(marker, ListedPrice) for marker in spot.markers)
        if named and isinstance(spot.value, str) and spot.value != FREE and spot.value.count("/"):
            from config.price_list import missing

            fault = missing(spot.value)
            if fault is not None:
                yield Fault(spot.path, place(document, spot.path), f"{fault[0]}: {quote(spot.value)}", fault[1])


def _conflicts(document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """What the structs themselves say of options beside other sections."""
    beside = RawConfig(document.data, {path: spot.annotation for path, spot in spots.items()})
    for spot in spots.values():
        struct = spot.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(spot.value, Mapping):
            for each in struct.conflicts(spot.path, spot.value, beside):
                span = document.keys.get(each.path) if each.at_key else None
                yield Fault(each.path, span or place(document, each.path), each.message, each.cure)


def _routed(document: YamlDocument, spots: Iterable[ConfigNode]) -> Iterator[Fault]:
    """A router may name no model that is a pipeline, nor a pipeline whose own guardrails would be left out."""
    models, pipelines = _section(document.data, "models"), _section(document.data, "pipelines")
    for spot in spots:
        if spot.path[:1] != ("routers",) or not isinstance(spot.value, str):
            continue
        sections = {marker.section for marker in spot.markers if isinstance(marker, Ref)}
        named = models.get(spot.value) if "models" in sections else None
        if isinstance(named, dict) and "pipeline" in named:
            cure = "name a model with targets, or write {pipeline: ...}"
            message = f"the model {quote(spot.value)} is a pipeline itself"
            yield Fault(spot.path, place(document, spot.path), message, cure)
        if "pipelines" in sections and isinstance(pipelines.get(spot.value), dict):
            yield from _left_out(document, str(spot.path[1]), spot.path, spot.value)


def _left_out(document: YamlDocument, router: str, path: Path, value: str) -> Iterator[Fault]:
    pipelines = _section(document.data, "pipelines")
    for name, pipeline in pipelines.items():
        if not isinstance(pipeline, dict) or pipeline.get("router") != router:
            continue
        for phase in ("guard_input", "guard_output"):
            theirs = set(pipelines[value].get(phase) or ()) - set(pipeline.get(phase) or ())
            if theirs:
                message = f"the guardrail {quote(min(map(str, theirs)))} of {value} would be left out"
                yield Fault(path, place(document, path), message, f"add it to {phase} of {name}, which routes there")


def _leaves(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(each, (*path, key))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _leaves(each, (*path, number))
    else:
        yield path, value


def _nested_pipelines(document: YamlDocument) -> Iterator[Fault]:
    models = _section(document.data, "models")
    for name, pipeline in _section(document.data, "pipelines").items():
        answer = pipeline.get("model") if isinstance(pipeline, dict) else None
        model = models.get(answer) if isinstance(answer, str) else None
        if isinstance(model, dict) and "pipeline" in model:
            path = ("pipelines", name, "model")
            message = f"the model {quote(answer)} is a pipeline itself"
            yield Fault(path, place(document, path), message, "name a model that has targets")


def _guards(document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """Guardrails that stand where they can't work, and steps with a model that isn't there or is a pipeline itself."""
    for pipeline, config in _section(document.data, "pipelines").items():
        for side in ("input", "output"):
            listed = config.get(f"guard_{side}") if isinstance(config, dict) else None
            names = [str(each) for each in listed] if isinstance(listed, (list, tuple)) else []
            for index, name in enumerate(names):
                position = Position(name, side, _guardrails(names[index + 1 :], spots))
                path: Path = ("pipelines", pipeline, f"guard_{side}", index)
                for struct in _guardrails([name], spots).values():
                    for message, cure in struct.misplaced(spots[("guardrails", name)].value, position):
                        yield Fault(path, place(document, path), message, cure)
    models = _section(document.data, "models")
    for name, values in _section(document.data, "guardrails").items():
        steps = values.get("then") if isinstance(values, dict) else None
        for index, step in enumerate(steps if isinstance(steps, (list, tuple)) else ()):
            model = step.removeprefix("model ") if isinstance(step, str) and step.startswith("model ") else None
            if model is not None and (model not in models or "pipeline" in (models[model] or {})):
                path = ("guardrails", name, "then", index)
                message = f"there is no model {quote(model)} with targets"
                yield Fault(path, place(document, path), message, did_you_mean(model, models))


def _guardrails(names: Iterable[str], spots: Mapping[Path, ConfigNode]) -> dict[str, type[GuardrailConfig]]:
    """Those of the names that are guardrails of a known kind, and what reads their options."""
    found: dict[str, type[GuardrailConfig]] = {}
    for name in names:
        spot = spots.get(("guardrails", name))
        struct = spot.annotation if spot is not None and isinstance(spot.value, Mapping) else None
        if isinstance(struct, type) and issubclass(struct, GuardrailConfig):
            found[name] = struct
    return found


def _shared_keys(document: YamlDocument, spots: Iterable[ConfigNode]) -> Iterator[Fault]:
    owners: dict[str, Path] = {}
    for spot in spots:
        of_app = spot.path[:1] == ("apps",) and spot.path[2:3] == ("keys",)
        is_key = spot.annotation is Secret and (of_app or spot.path[:2] == ("admin", "keys"))
        if not is_key or not isinstance(spot.value, str):
            continue
        owner = owners.setdefault(Secret(spot.value).digest(), spot.path)
        if owner != spot.path:
            message = f"this is also the key {write_path(owner)}"
            cure = "give each app and each administrator keys of their own"
            yield Fault(spot.path, place(document, spot.path), message, cure)


def _access(document: YamlDocument) -> Iterator[Fault]:
    data = document.data
    has_apps = bool(data.get("apps"))
    access = data.get("access", "keys" if has_apps else "open")
    listen = _section(data, "server").get("listen", _DEFAULT_LISTEN)
    if access == "keys" and not has_apps and not _section(data, "server").get("database"):
        path: Path = ("access",)
        yield Fault(path, place(document, path), "no app has a key, so nobody could call", "add an app under apps:")
    if access != "open" or not isinstance(listen, str):
        return
    try:
        host, _ = split_listen(listen)
    except ValueError:
        return
    if not is_loopback(host):
        path = ("access",) if "access" in data else ("server", "listen")
        cure = "remove access: open" if has_apps else "add an app with a key under apps:, or listen on 127.0.0.1"
        yield Fault(path, place(document, path), f"anybody who reaches {quote(listen)} could call", cure)


def _callable_apps(document: YamlDocument) -> Iterator[Fault]:
    """An app without keys needs a place where keys can be made, or tokens that name it."""
    data = document.data
    if _section(data, "server").get("database") or data.get("identity"):
        return
    for name, app in _section(data, "apps").items():
        path: Path = ("apps", name)
        if isinstance(app, dict) and not app.get("keys") and "keys" not in app:
            cure = "add keys:, or a server.database where keys can be made"
            yield Fault(
                path, document.keys.get(path) or place(document, path), "nobody could call: it has no key", cure
            )
        elif isinstance(app, dict) and not app.get("keys"):
            path = ("apps", name, "keys")
            yield Fault(
                path, place(document, path), "the list is empty", "add a key, or a server.database to make keys in"
            )


_BUDGETED = re.compile(r"[0-9.]+ ([A-Z]{3}) (?:per|in) ")


def _known_currencies(document: YamlDocument) -> Iterator[Fault]:
    known = {"USD", *_section(document.data, "currencies")}
    for section in ("organisations", "teams", "apps"):
        for name, config in _section(document.data, section).items():
            for path, value in _leaves(config, (section, name)):
                match = _BUDGETED.match(value) if isinstance(value, str) else None
                if match is not None and match[1] not in known and "budget" in path:
                    message = f"nobody knows what one {match[1]} is worth"
                    yield Fault(path, place(document, path), message, f"add currencies: {{{match[1]}: 1.08 USD}}")


def _one_pepper(document: YamlDocument) -> Iterator[Fault]:
    """Replicas that share a database must hash keys alike."""
    server = _section(document.data, "server")
    database = server.get("database")
    if isinstance(database, str) and database.startswith("postgres") and not server.get("pepper"):
        path: Path = ("server", "database")
        cure = "add server.pepper: ${GATEHOUSE_PEPPER}, 32 characters or more (openssl rand -hex 32)"
        yield Fault(path, place(document, path), "each replica would hash keys in its own way", cure)


def _distinct_issuers(document: YamlDocument) -> Iterator[Fault]:
    """A token's issuer decides which entry reads it."""
    known: dict[str, int] = {}
    entries = document.data.get("identity")
    for number, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        issuer = entry.get("issuer") if isinstance(entry, dict) else None
        if isinstance(issuer, str) and known.setdefault(issuer.rstrip("/"), number) != number:
            path: Path = ("identity", number, "issuer")
            message = f"{quote(issuer)} is the issuer of identity {known[issuer.rstrip('/')] + 1} already"
            yield Fault(path, place(document, path), message, "keep one entry for each issuer")
