"""Checks across sections. They work on plain values, so they also run on a file with other errors."""

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


def crosscheck(document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """Yields unknown names, pipelines within pipelines, keys shared by two apps, open access to a network, and more."""
    if not isinstance(document.data, dict):
        return
    for node in nodes.values():
        if isinstance(node.value, str) and node.path not in document.unresolved:
            for marker in node.markers:
                if isinstance(marker, Ref):
                    yield from _reference(marker, node, document)
    yield from _nested_pipelines(document)
    yield from _guards(document, nodes)
    yield from _conflicts(document, nodes)
    yield from _routed(document, nodes.values())
    yield from _priced(document, nodes)
    yield from _shared_keys(document, nodes.values())
    yield from _access(document)
    yield from _callable_apps(document)
    yield from _known_currencies(document)
    yield from _one_pepper(document)
    yield from _distinct_issuers(document)
    yield from missing_extras(document, nodes.values())


def _section(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = data.get(name)
    return section if isinstance(section, dict) else {}


def _reference(ref: Ref, node: ConfigNode, document: YamlDocument) -> Iterator[Fault]:
    name, slash, rest = str(node.value).partition("/") if ref.prefix else (str(node.value), "", "")
    known = _section(document.data, ref.section)
    if name in known or name == ref.wildcard or not name or (ref.prefix and not slash):
        return
    close = nearest(name, known)
    if close:
        cure = (
            f"did you mean {close}?" if isinstance(node.value, Substituted) else f"did you mean {close}{slash}{rest}?"
        )
    elif known:
        cure = did_you_mean(name, known)
    else:
        cure = f"add it under {ref.section}:"
    yield Fault(
        node.path, place(document, node.path), f"there is no {ref.noun} {quote(_with_origin(name, node.value))}", cure
    )


def _with_origin(name: str, value: str) -> str:
    """The name, marked as from a reference if `value` is from one."""
    return Substituted(name, value.reference) if isinstance(value, Substituted) else name


def _priced(document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    providers = _section(document.data, "providers")
    for target in _section(document.data, "prices"):
        name = str(target).partition("/")[0]
        if "/" in str(target) and "*" not in name and name not in providers:
            path = ("prices", target)
            cure = did_you_mean(name, providers) if providers else "add it under providers:"
            yield Fault(
                path, document.keys.get(path) or place(document, path), f"there is no provider {quote(name)}", cure
            )
    for node in nodes.values():
        named = any(isinstance(marker, ListedPrice) for marker in node.markers)
        if named and isinstance(node.value, str) and node.value != FREE and node.value.count("/"):
            from config.price_list import missing

            fault = missing(node.value)
            if fault is not None:
                yield Fault(node.path, place(document, node.path), f"{fault[0]}: {quote(node.value)}", fault[1])


def _conflicts(document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """Conflicts with other sections, as the structs report them."""
    beside = RawConfig(document.data, {path: node.annotation for path, node in nodes.items()})
    for node in nodes.values():
        struct = node.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(node.value, Mapping):
            for each in struct.conflicts(node.path, node.value, beside):
                span = document.keys.get(each.path) if each.at_key else None
                yield Fault(each.path, span or place(document, each.path), each.message, each.cure)


def _routed(document: YamlDocument, nodes: Iterable[ConfigNode]) -> Iterator[Fault]:
    """A router must not choose a model that is a pipeline, nor a pipeline whose own guardrails would be skipped."""
    models, pipelines = _section(document.data, "models"), _section(document.data, "pipelines")
    for node in nodes:
        if node.path[:1] != ("routers",) or not isinstance(node.value, str):
            continue
        sections = {marker.section for marker in node.markers if isinstance(marker, Ref)}
        named = models.get(node.value) if "models" in sections else None
        if isinstance(named, dict) and "pipeline" in named:
            cure = "name a model with targets, or write {pipeline: ...}"
            message = f"the model {quote(node.value)} is itself a pipeline"
            yield Fault(node.path, place(document, node.path), message, cure)
        if "pipelines" in sections and isinstance(pipelines.get(node.value), dict):
            yield from _skipped_guardrails(document, str(node.path[1]), node.path, node.value)


def _skipped_guardrails(document: YamlDocument, router: str, path: Path, value: str) -> Iterator[Fault]:
    pipelines = _section(document.data, "pipelines")
    for name, pipeline in pipelines.items():
        if not isinstance(pipeline, dict) or pipeline.get("router") != router:
            continue
        for phase in ("guard_input", "guard_output"):
            skipped = set(pipelines[value].get(phase) or ()) - set(pipeline.get(phase) or ())
            if skipped:
                message = f"the guardrail {quote(min(map(str, skipped)))} of {value} would be skipped"
                yield Fault(path, place(document, path), message, f"add it to {phase} of {name}, which has this router")


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
            message = f"the model {quote(answer)} is itself a pipeline"
            yield Fault(path, place(document, path), message, "name a model that has targets")


def _guards(document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Iterator[Fault]:
    """Guardrails in a place where they can't work, and steps whose model is unknown or a pipeline."""
    for pipeline, config in _section(document.data, "pipelines").items():
        for side in ("input", "output"):
            listed = config.get(f"guard_{side}") if isinstance(config, dict) else None
            names = [str(each) for each in listed] if isinstance(listed, (list, tuple)) else []
            for index, name in enumerate(names):
                position = Position(name, side, _guardrails(names[index + 1 :], nodes))
                path: Path = ("pipelines", pipeline, f"guard_{side}", index)
                for struct in _guardrails([name], nodes).values():
                    for message, cure in struct.misplaced(nodes[("guardrails", name)].value, position):
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


def _guardrails(names: Iterable[str], nodes: Mapping[Path, ConfigNode]) -> dict[str, type[GuardrailConfig]]:
    """The names that are guardrails of a known kind, with their config classes."""
    found: dict[str, type[GuardrailConfig]] = {}
    for name in names:
        node = nodes.get(("guardrails", name))
        struct = node.annotation if node is not None and isinstance(node.value, Mapping) else None
        if isinstance(struct, type) and issubclass(struct, GuardrailConfig):
            found[name] = struct
    return found


def _shared_keys(document: YamlDocument, nodes: Iterable[ConfigNode]) -> Iterator[Fault]:
    owners: dict[str, Path] = {}
    for node in nodes:
        of_app = node.path[:1] == ("apps",) and node.path[2:3] == ("keys",)
        is_key = node.annotation is Secret and (of_app or node.path[:2] == ("admin", "keys"))
        if not is_key or not isinstance(node.value, str):
            continue
        owner = owners.setdefault(Secret(node.value).digest(), node.path)
        if owner != node.path:
            message = f"{write_path(owner)} has the same key"
            cure = "use a different key for each app and each administrator"
            yield Fault(node.path, place(document, node.path), message, cure)


def _access(document: YamlDocument) -> Iterator[Fault]:
    data = document.data
    has_apps = bool(data.get("apps"))
    access = data.get("access", "keys" if has_apps else "open")
    listen = _section(data, "server").get("listen", _DEFAULT_LISTEN)
    if access == "keys" and not has_apps and not _section(data, "server").get("database"):
        path: Path = ("access",)
        yield Fault(path, place(document, path), "no app has a key, so no caller has access", "add an app under apps:")
    if access != "open" or not isinstance(listen, str):
        return
    try:
        host, _ = split_listen(listen)
    except ValueError:
        return
    if not is_loopback(host):
        path = ("access",) if "access" in data else ("server", "listen")
        cure = "remove access: open" if has_apps else "add an app with a key under apps:, or listen on 127.0.0.1"
        yield Fault(path, place(document, path), f"anyone who can reach {quote(listen)} would have access", cure)


def _callable_apps(document: YamlDocument) -> Iterator[Fault]:
    """An app without keys needs a database in which keys can be created, or tokens that name it."""
    data = document.data
    if _section(data, "server").get("database") or data.get("identity"):
        return
    for name, app in _section(data, "apps").items():
        path: Path = ("apps", name)
        if isinstance(app, dict) and not app.get("keys") and "keys" not in app:
            cure = "add keys:, or a server.database in which keys can be created"
            yield Fault(path, document.keys.get(path) or place(document, path), "the app has no key", cure)
        elif isinstance(app, dict) and not app.get("keys"):
            path = ("apps", name, "keys")
            yield Fault(
                path, place(document, path), "the list is empty", "add a key, or a server.database to create keys in"
            )


_BUDGETED = re.compile(r"[0-9.]+ ([A-Z]{3}) (?:per|in) ")


def _known_currencies(document: YamlDocument) -> Iterator[Fault]:
    known = {"USD", *_section(document.data, "currencies")}
    for section in ("organisations", "teams", "apps"):
        for name, config in _section(document.data, section).items():
            for path, value in _leaves(config, (section, name)):
                match = _BUDGETED.match(value) if isinstance(value, str) else None
                if match is not None and match[1] not in known and "budget" in path:
                    message = f"the exchange rate of {match[1]} is missing"
                    yield Fault(path, place(document, path), message, f"add currencies: {{{match[1]}: 1.08 USD}}")


def _one_pepper(document: YamlDocument) -> Iterator[Fault]:
    """Replicas that share a database must hash keys with the same pepper."""
    server = _section(document.data, "server")
    database = server.get("database")
    if isinstance(database, str) and database.startswith("postgres") and not server.get("pepper"):
        path: Path = ("server", "database")
        cure = "add server.pepper: ${GATEHOUSE_PEPPER}, 32 characters or more (openssl rand -hex 32)"
        yield Fault(path, place(document, path), "each replica would hash keys with a different pepper", cure)


def _distinct_issuers(document: YamlDocument) -> Iterator[Fault]:
    """The issuer of a token decides which entry checks it, so issuers must differ."""
    known: dict[str, int] = {}
    entries = document.data.get("identity")
    for number, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        issuer = entry.get("issuer") if isinstance(entry, dict) else None
        if isinstance(issuer, str) and known.setdefault(issuer.rstrip("/"), number) != number:
            path: Path = ("identity", number, "issuer")
            message = f"{quote(issuer)} is already the issuer of identity entry {known[issuer.rstrip('/')] + 1}"
            yield Fault(path, place(document, path), message, "keep one entry for each issuer")
