"""What only shows when sections are read together. Works on the plain values, so that it runs beside other errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from config.document import Document, Fault, Path
from config.explain import place
from config.extras import missing_extras
from config.findings import Substituted, did_you_mean, nearest, quote
from config.guardrails import PATTERN_TYPES, TAGGED_TYPES, GuardrailBase
from config.kinds import Kinds
from config.listening import is_loopback, split_listen
from config.prices import FREE, Listed
from config.secret import Secret
from config.shape import Spot, write_path
from config.struct import Ref

_DEFAULT_LISTEN = "127.0.0.1:8080"


def crosscheck(document: Document, spots: Mapping[Path, Spot], kinds: Kinds) -> Iterator[Fault]:
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
    yield from _personal_types(document)
    yield from _searched_tables(document)
    yield from _tiers_without_redis(document)
    yield from _routed(document)
    yield from _priced(document, spots)
    yield from _shared_keys(document, spots.values())
    yield from _access(document)
    yield from _callable_apps(document)
    yield from _known_currencies(document)
    yield from _one_pepper(document)
    yield from _distinct_issuers(document)
    yield from missing_extras(document)


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _reference(ref: Ref, spot: Spot, document: Document) -> Iterator[Fault]:
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


def _priced(document: Document, spots: Mapping[Path, Spot]) -> Iterator[Fault]:
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
        named = any(isinstance(marker, Listed) for marker in spot.markers)
        if named and isinstance(spot.value, str) and spot.value != FREE and spot.value.count("/"):
            from config.price_list import missing

            fault = missing(spot.value)
            if fault is not None:
                yield Fault(spot.path, place(document, spot.path), f"{fault[0]}: {quote(spot.value)}", fault[1])


def _routed(document: Document) -> Iterator[Fault]:
    """A router may name no model that is a pipeline, nor a pipeline whose own guardrails would be left out."""
    models, pipelines = _section(document.data, "models"), _section(document.data, "pipelines")
    for router, config in _section(document.data, "routers").items():
        for path, value in _leaves(config, ("routers", router)):
            named = models.get(value) if isinstance(value, str) and path[-1] in _NAMING_MODELS else None
            if isinstance(named, dict) and "pipeline" in named:
                cure = "name a model with targets, or write {pipeline: ...}"
                yield Fault(path, place(document, path), f"the model {quote(value)} is a pipeline itself", cure)
            if path[-1] == "pipeline" and isinstance(pipelines.get(value), dict):
                yield from _left_out(document, router, path, value)


_NAMING_MODELS = ("model", "then", "unsure", "out_of_scope", "second_opinion", "simple")


def _left_out(document: Document, router: str, path: Path, value: str) -> Iterator[Fault]:
    pipelines = _section(document.data, "pipelines")
    for name, pipeline in pipelines.items():
        if not isinstance(pipeline, dict) or pipeline.get("route") != router:
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


def _tiers_without_redis(document: Document) -> Iterator[Fault]:
    server = _section(document.data, "server")
    for name, cache in _section(document.data, "caches").items():
        tiers = cache.get("tiers") if isinstance(cache, dict) else None
        for place_of_tier, tier in enumerate(tiers if isinstance(tiers, list | tuple) else ()):
            if isinstance(tier, dict) and tier.get("kind") == "redis" and "redis" not in server:
                path = ("caches", name, "tiers", place_of_tier, "kind")
                yield Fault(
                    path, place(document, path), "there is no Redis", "give its address as server: {redis: ...}"
                )


def _nested_pipelines(document: Document) -> Iterator[Fault]:
    models = _section(document.data, "models")
    for name, pipeline in _section(document.data, "pipelines").items():
        answer = pipeline.get("answer") if isinstance(pipeline, dict) else None
        model = models.get(answer) if isinstance(answer, str) else None
        if isinstance(model, dict) and "pipeline" in model:
            path = ("pipelines", name, "answer")
            message = f"the model {quote(answer)} is a pipeline itself"
            yield Fault(path, place(document, path), message, "name a model that has targets")


def _guards(document: Document, spots: Mapping[Path, Spot]) -> Iterator[Fault]:
    """A guardrail that stands where it can't work, or asks a model that isn't there or is a pipeline itself."""
    path: Path
    configured = _section(document.data, "guardrails")
    models = _section(document.data, "models")
    for name, pipeline in _section(document.data, "pipelines").items():
        for side in ("input", "output"):
            listed = pipeline.get(f"guard_{side}") if isinstance(pipeline, dict) else None
            names = listed if isinstance(listed, (list, tuple)) else ()
            for index, guardrail in enumerate(names):
                config = configured.get(guardrail) if isinstance(guardrail, str) else None
                kind = config.get("kind") if isinstance(config, dict) else None
                spot = spots.get(("guardrails", str(guardrail)))
                found = spot.annotation if spot is not None else None
                struct = found if isinstance(found, type) and issubclass(found, GuardrailBase) else None
                if struct is not None and side == "input" and kind == "toxicity" and _asks_again(config):
                    path = ("pipelines", name, "guard_input", index)
                    message = "on the way in there is no answer to ask again for"
                    yield Fault(path, place(document, path), message, f"let {guardrail} flag, block, say or human")
                if kind == "injection" and isinstance(config, dict) and config.get("judge"):
                    later = [each for each in names[index + 1 :] if _kind(configured, each) == "personal_data"]
                    if later:
                        path = ("pipelines", name, "guard_input", index)
                        message = f"its judge would see what {quote(later[0])} masks only after it"
                        yield Fault(path, place(document, path), message, f"put {later[0]} before {guardrail}")
                if struct is not None and side not in struct.sides:
                    path = ("pipelines", name, f"guard_{side}", index)
                    other = "output" if side == "input" else "input"
                    message = f"a guardrail of kind {kind} can't stand here"
                    yield Fault(path, place(document, path), message, f"put it into guard_{other}")
    for name, config in configured.items():
        steps = config.get("then") if isinstance(config, dict) else None
        for index, step in enumerate(steps if isinstance(steps, (list, tuple)) else ()):
            model = step.removeprefix("model ") if isinstance(step, str) and step.startswith("model ") else None
            if model is not None and (model not in models or "pipeline" in (models[model] or {})):
                path = ("guardrails", name, "then", index)
                message = f"there is no model {quote(model)} with targets"
                yield Fault(path, place(document, path), message, did_you_mean(model, models))


def _personal_types(document: Document) -> Iterator[Fault]:
    """A type of personal data that nothing looks for."""
    for name, config in _section(document.data, "guardrails").items():
        if not isinstance(config, dict) or config.get("kind") != "personal_data":
            continue
        types, presidio = config.get("types"), config.get("presidio")
        own = [*_section(config, "patterns"), *_section(config, "lists")]
        own += presidio if isinstance(presidio, (list, tuple)) else []
        known = sorted({*PATTERN_TYPES, *TAGGED_TYPES, *map(str, own)})
        for each in types if isinstance(types, dict) else ():
            if each not in known:
                path: Path = ("guardrails", name, "types", each)
                cure = f"{did_you_mean(each, known)}, or add it to patterns".replace("?, or", "? Or")
                yield Fault(path, document.keys[path], f"there is no type {quote(each)}", cure)


def _searched_tables(document: Document) -> Iterator[Fault]:
    """A tool that searches documents where there are only rows."""
    sources = _section(document.data, "sources")
    for name, tool in _section(document.data, "tools").items():
        source = tool.get("source") if isinstance(tool, dict) else None
        if isinstance(source, str) and _kind(sources, source) == "sql":
            path: Path = ("tools", name, "source")
            message = f"{quote(source)} has rows, not documents"
            yield Fault(path, place(document, path), message, "list it under from: of a pipeline's context")


def _kind(configured: Mapping[str, Any], guardrail: object) -> object:
    config = configured.get(guardrail) if isinstance(guardrail, str) else None
    return config.get("kind") if isinstance(config, dict) else None


def _asks_again(config: object) -> bool:
    steps = config.get("then", ()) if isinstance(config, dict) else ()
    return any(str(step).split(" ")[0] in ("retry", "parallel", "model", "repair") for step in
               ((steps,) if isinstance(steps, str) else steps or ()))  # fmt: skip


def _shared_keys(document: Document, spots: Iterable[Spot]) -> Iterator[Fault]:
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


def _access(document: Document) -> Iterator[Fault]:
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


def _callable_apps(document: Document) -> Iterator[Fault]:
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


def _known_currencies(document: Document) -> Iterator[Fault]:
    known = {"USD", *_section(document.data, "currencies")}
    for section in ("organisations", "teams", "apps"):
        for name, config in _section(document.data, section).items():
            for path, value in _leaves(config, (section, name)):
                match = _BUDGETED.match(value) if isinstance(value, str) else None
                if match is not None and match[1] not in known and ("budget" in path):
                    message = f"nobody knows what one {match[1]} is worth"
                    yield Fault(path, place(document, path), message, f"add currencies: {{{match[1]}: 1.08 USD}}")


def _one_pepper(document: Document) -> Iterator[Fault]:
    """Replicas that share a database must hash keys alike."""
    server = _section(document.data, "server")
    database = server.get("database")
    if isinstance(database, str) and database.startswith("postgres") and not server.get("pepper"):
        path: Path = ("server", "database")
        cure = "add server.pepper: ${GATEHOUSE_PEPPER}, 32 characters or more (openssl rand -hex 32)"
        yield Fault(path, place(document, path), "each replica would hash keys in its own way", cure)


def _distinct_issuers(document: Document) -> Iterator[Fault]:
    """A token's issuer decides which entry reads it."""
    known: dict[str, int] = {}
    entries = document.data.get("identity")
    for number, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        issuer = entry.get("issuer") if isinstance(entry, dict) else None
        if isinstance(issuer, str) and known.setdefault(issuer.rstrip("/"), number) != number:
            path: Path = ("identity", number, "issuer")
            message = f"{quote(issuer)} is the issuer of identity {known[issuer.rstrip('/')] + 1} already"
            yield Fault(path, place(document, path), message, "keep one entry for each issuer")
