"""Which models the requests of an app can reach, by the names in the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from config.access import AppConfig, ShareConfig
from config.root import Config
from config.shape import walk
from config.struct import Ref

Entry: TypeAlias = tuple[str, str]


def models_of_apps(config: Config, apps: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Models with targets, each with those of `apps` whose requests can reach it: by name or through a pipeline."""
    known = _references(config)
    reachable: dict[str, list[str]] = {}
    for name in apps:
        app = config.apps[name]
        allowed = config.models if app.allowed is None else app.allowed
        pending: list[Entry] = [("models", each) for each in allowed]
        budgets = [each for holder in holders_of_budgets(config, app) for each in holder.budget]
        pending += [("models", each.downgrade) for each in budgets if each.downgrade is not None]
        seen: set[Entry] = set()
        while pending:
            entry = pending.pop()
            if entry not in seen:
                seen.add(entry)
                pending += known.get(entry, ())
        for model in config.models:
            if ("models", model) in seen and config.models[model].targets:
                reachable.setdefault(model, []).append(name)
    return {model: tuple(names) for model, names in reachable.items()}


def holders_of_budgets(config: Config, app: AppConfig) -> list[ShareConfig | AppConfig]:
    """All holders of budgets that an app's requests count against: the app, its keys and users, team, organisation."""
    team = config.teams.get(app.team or "")
    organisation = config.organisations.get(team.organisation or "") if team is not None else None
    return [each for each in (app, app.per_key, app.per_user, team, organisation) if each is not None]


def _references(config: Config) -> Mapping[Entry, list[Entry]]:
    """The entries that each entry of a section refers to, except the providers of targets."""
    data = {section: getattr(config, section) for section in ("models", "pipelines", "routers", "guardrails", "sources",
                                                              "tools")}  # fmt: skip
    found: dict[Entry, list[Entry]] = {}
    plain = _plain({name: {key: each.model_dump(by_alias=True) for key, each in entries.items()}
                    for name, entries in data.items()})  # fmt: skip
    for node in walk(Config, plain, config.kinds):
        if len(node.path) < 2 or not isinstance(node.value, str):
            continue
        entry = (str(node.path[0]), str(node.path[1]))
        for marker in node.markers:
            if isinstance(marker, Ref) and not marker.prefix and node.value != marker.wildcard:
                found.setdefault(entry, []).append((marker.section, node.value))
        if "then" in node.path and node.value.startswith("model "):
            found.setdefault(entry, []).append(("models", node.value.removeprefix("model ")))
    return found


def _plain(value: Any) -> Any:
    """Converts lists to tuples, as `walk` needs them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return tuple(_plain(each) for each in value) if isinstance(value, list | tuple) else value
