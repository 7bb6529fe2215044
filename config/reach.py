"""Which models an app's requests may come to ask, by the names that stand in the config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from config.access import AppConfig, ShareConfig
from config.root import Config
from config.shape import walk
from config.struct import Ref

Entry: TypeAlias = tuple[str, str]


def models_of_apps(config: Config, apps: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Models with targets, each with those of `apps` whose requests may ask it: by name or in a pipeline."""
    known = _references(config)
    found: dict[str, list[str]] = {}
    for name in apps:
        app = config.apps[name]
        asked = config.models if app.allowed is None else app.allowed
        waiting: list[Entry] = [("models", each) for each in asked]
        budgets = [each for holder in holders_of_budgets(config, app) for each in holder.budget]
        waiting += [("models", each.downgrade) for each in budgets if each.downgrade is not None]
        seen: set[Entry] = set()
        while waiting:
            entry = waiting.pop()
            if entry not in seen:
                seen.add(entry)
                waiting += known.get(entry, ())
        for model in config.models:
            if ("models", model) in seen and config.models[model].targets:
                found.setdefault(model, []).append(name)
    return {model: tuple(names) for model, names in found.items()}


def holders_of_budgets(config: Config, app: AppConfig) -> list[ShareConfig | AppConfig]:
    """All whose budgets the requests of an app count to: itself, its keys and users, its team, its organisation."""
    team = config.teams.get(app.team or "")
    organisation = config.organisations.get(team.organisation or "") if team is not None else None
    return [each for each in (app, app.per_key, app.per_user, team, organisation) if each is not None]


def _references(config: Config) -> Mapping[Entry, list[Entry]]:
    """What each entry of a section names, but the providers of targets."""
    data = {section: getattr(config, section) for section in ("models", "pipelines", "routers", "guardrails", "sources",
                                                              "tools")}  # fmt: skip
    found: dict[Entry, list[Entry]] = {}
    plain = _plain({name: {key: each.model_dump(by_alias=True) for key, each in entries.items()}
                    for name, entries in data.items()})  # fmt: skip
    for spot in walk(Config, plain, config.kinds):
        if len(spot.path) < 2 or not isinstance(spot.value, str):
            continue
        entry = (str(spot.path[0]), str(spot.path[1]))
        for marker in spot.markers:
            if isinstance(marker, Ref) and not marker.prefix and spot.value != marker.wildcard:
                found.setdefault(entry, []).append((marker.section, spot.value))
        if "then" in spot.path and spot.value.startswith("model "):
            found.setdefault(entry, []).append(("models", spot.value.removeprefix("model ")))
    return found


def _plain(value: Any) -> Any:
    """Lists as `walk` wants them."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return tuple(_plain(each) for each in value) if isinstance(value, list | tuple) else value
