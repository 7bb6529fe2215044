"""The directory of callers with their limits and budgets, from the config and the database."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from pydantic import ValidationError

from access.callers.keys import KeyRing, StoredCallers, TokenCallers
from config.access import (
    AppConfig,
    BudgetConfig,
    LimitsConfig,
    OrganisationConfig,
    ShareConfig,
    TeamConfig,
)
from config.findings import bare, quote
from contract.caller import Caller
from contract.errors import Unauthenticated
from contract.rules import NANO, LimitMetric, LimitRule, Scope, ScopedRule
from contract.units import write_rate, write_spend

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from access.callers.jwt import KeySet
    from access.callers.stored_keys import StoredKey, StoredKeys
    from config.access import IdentityConfig
    from config.root import Config

_COUNTED: tuple[LimitMetric, ...] = ("requests", "tokens", "input_tokens", "output_tokens")
# A billion dollars: more than any budget, and small enough for every counter.
_MOST_MONEY = 1_000_000_000 * NANO
# Limits of concurrency, and their options.
_CONCURRENCY: dict[LimitMetric, str] = {"parallel": "max_concurrent", "streams": "streams"}
# The options of apps, teams and organisations in the database; keys of apps have their own table.
_STRUCTS: dict[str, type[AppConfig | TeamConfig | OrganisationConfig]] = {
    "app": AppConfig,
    "team": TeamConfig,
    "organisation": OrganisationConfig,
}


def rules_of(
    limits: LimitsConfig | None, budgets: Iterable[BudgetConfig], currencies: Mapping[str, Decimal]
) -> tuple[LimitRule, ...]:
    """The rules of a scope's limits and budgets."""
    rules: list[LimitRule] = []
    if limits is not None:
        strict = limits.when_unreachable == "deny"
        for what in _COUNTED:
            for rate in getattr(limits, what):
                text = write_rate(rate)
                rules.append(
                    LimitRule(
                        what, rate.most, text, rate.window_s, soft=limits.shadow, strict=strict, shadow=limits.shadow
                    )
                )
        for what, option in _CONCURRENCY.items():
            most = getattr(limits, option)
            if most is not None:
                rules.append(
                    LimitRule(what, most, f"{most} at a time", soft=limits.shadow, strict=strict, shadow=limits.shadow)
                )
    for number, budget in enumerate(budgets):
        rules.append(_budget(budget, number, currencies))
    return tuple(rules)


def _budget(budget: BudgetConfig, number: int, currencies: Mapping[str, Decimal]) -> LimitRule:
    spend = budget.spend
    rate = Decimal(1) if spend.currency == "USD" else currencies[spend.currency]
    return LimitRule(
        "spend",
        min(int(spend.amount * rate * NANO), _MOST_MONEY),
        write_spend(spend),
        spend.hours * 3600,
        spend.period,
        budget.time_zone,
        soft=budget.shadow or budget.then == "allow" or budget.downgrade is not None,
        strict=budget.when_unreachable == "deny" and not budget.shadow,
        shadow=budget.shadow,
        downgrade=budget.downgrade or "",
        answer=budget.default_max_tokens if not budget.shadow else 0,
        refuse_unpriced=budget.unknown_price == "refuse" and not budget.shadow,
        warn=budget.warn,
        webhook=budget.webhook.reveal() if budget.webhook is not None else "",
        number=number,
    )


def scoped_rules_of(scope: Scope, name: str, rules: Iterable[LimitRule]) -> tuple[ScopedRule, ...]:
    """The rules with their scope and name."""
    return tuple(ScopedRule(scope, name, rule) for rule in rules)


def limits_by_name(config: Config, section: str) -> dict[str, tuple[ScopedRule, ...]]:
    """The limits of `models` or `providers`."""
    scope: Scope = "model" if section == "models" else "provider"
    found: dict[str, tuple[ScopedRule, ...]] = {}
    for name, each in getattr(config, section).items():
        limits = getattr(each, "limits", None)
        if limits is not None:
            found[name] = scoped_rules_of(scope, name, rules_of(limits, (), {}))
    return found


class CallerDirectory:
    """Callers of one config. Entries of the YAML take precedence over those of the database, which are kept current."""

    def __init__(self, config: Config, stored: StoredKeys | None = None) -> None:
        self._config = config
        self._stored = stored
        self._parties: dict[tuple[str, str], Any] = {}
        self._callers: dict[str, Caller | None] = {}
        # By app and issuer.
        self._of_tokens: dict[tuple[str, str], Caller] = {}
        self._seen = -1
        self._strict: dict[bool, list[str]] = {}
        # Whether callers without a key are allowed.
        self.is_open = config.access == "open"
        self._refresh()

    def key_ring(self, tokens: TokenCallers | None = None) -> KeyRing:
        """Returns the key ring of all callers."""
        config = self._config
        callers: dict[bytes, Caller] = {}
        for name, app in config.apps.items():
            for digest in app.key_digests:
                # A key of the YAML has no name: the beginning of its digest identifies it.
                callers[bytes.fromhex(digest)] = self.caller(name, app, key=f"yaml-{digest[:10]}")
        stored = StoredCallers(self._stored, self.of_key) if self._stored is not None else None
        anonymous = Caller("anonymous") if config.access == "open" else None
        return KeyRing(callers, anonymous, stored, tokens)

    def app(self, name: str) -> AppConfig | None:
        """The app of that name, from the YAML or the database; None if unknown."""
        self._refresh()
        declared = self._config.apps.get(name)
        if declared is not None:
            return declared
        stored = self._parties.get(("app", name))
        return stored if stored is not None and self._has_parents(stored) else None

    def _has_parents(self, app: AppConfig) -> bool:
        """Whether an app's team and organisation exist: without them, their limits would silently not apply."""
        if app.team is None:
            return True
        team = self._parent("team", app.team)
        if team is None or not team.organisation:
            return team is not None
        return self._parent("organisation", team.organisation) is not None

    def _parent(self, kind: str, name: str) -> Any:
        declared: Mapping[str, Any] = getattr(self._config, f"{kind}s")
        return declared.get(name) or self._parties.get((kind, name))

    def apps(self) -> list[str]:
        """The names of all apps, sorted."""
        self._refresh()
        return sorted({*self._config.apps, *(name for kind, name in self._parties if kind == "app")})

    @property
    def has_other_callers(self) -> bool:
        """Whether there may be callers that do not depend on the database."""
        declared = any(app.key_digests for app in self._config.apps.values())
        return self.is_open or bool(self._config.identity) or declared

    def strict_apps(self, *, money_only: bool) -> list[str]:
        """The apps that are refused while their rules (`money_only`: their budgets) can't be counted."""
        self._refresh()
        if money_only not in self._strict:
            self._strict[money_only] = [name for name in self.apps() if self._is_strict(name, money_only)]
        return self._strict[money_only]

    def _is_strict(self, name: str, money_only: bool) -> bool:
        app = self.app(name)
        if app is None:
            return False
        caller = self.caller(name, app, key="any")
        rules = [*(scoped.rule for scoped in caller.rules), *caller.user_rules]
        return any(rule.strict and not rule.soft and (rule.what == "spend" or not money_only) for rule in rules)

    def known_rules(self) -> list[ScopedRule]:
        """The rules of all known organisations, teams, apps and keys; users' rules have the app's name."""
        scoped_rules: list[ScopedRule] = []
        for name in self.apps():
            app = self.app(name)
            if app is None:
                continue
            caller = self.caller(name, app)
            scoped_rules += [*caller.rules, *scoped_rules_of("user", name, caller.user_rules)]
            for key in self._keys_of(name, app) if app.per_key.budget else ():
                scoped_rules += [each for each in self.caller(name, app, key).rules if each.scope == "key"]
        return scoped_rules

    def _keys_of(self, name: str, app: AppConfig) -> Iterable[str]:
        yield from (f"yaml-{digest[:10]}" for digest in app.key_digests)
        yield from (_token_key(each) for each in self._config.identity)
        if self._stored is not None:
            yield from (record.id for record in self._stored.of_app(name))

    def of_key(self, record: StoredKey) -> Caller | None:
        """The caller of a database key; None if its app was removed or its options can't be read."""
        self._refresh()
        if record.id not in self._callers:
            app, options = self.app(record.app), read_key_options(record.options, self._config.surfaces)
            if options is None:
                structlog.get_logger().error("a key is refused: its options can't be read", key=record.id)
            made = self.caller(record.app, app, key=record.id) if app is not None and options is not None else None
            self._callers[record.id] = narrowed(made, options or {}) if made is not None else None
        return self._callers[record.id]

    def of_claims(self, identity: IdentityConfig, claims: Mapping[str, Any]) -> Caller:
        """The caller of a token. Raises `Unauthenticated`."""
        name = identity.app if identity.app is not None else claims.get(identity.app_claim)
        app = self.app(name) if isinstance(name, str) else None
        if app is None or not isinstance(name, str):
            raise Unauthenticated("The token does not name a known app")
        if identity.team_claim:
            teams = claims.get(identity.team_claim)
            named = teams if isinstance(teams, list) else [teams]
            if app.team is None or app.team not in named:
                raise Unauthenticated("The token does not name the team of its app")
        user = claims.get(identity.user_claim)
        key = _token_key(identity)
        caller = self._of_tokens.get((name, key))
        if caller is None:
            caller = self._of_tokens[name, key] = self.caller(name, app, key=key)
        return _with_user(caller, str(user)[:128] if isinstance(user, str | int) else "")

    def caller(self, name: str, app: AppConfig, key: str = "") -> Caller:
        """The caller for an app, with all rules that apply to it."""
        currencies = self._config.currencies
        team_name = app.team or ""
        team = self._parent("team", team_name)
        organisation_name = (team.organisation or "") if team is not None else ""
        organisation = self._parent("organisation", organisation_name)
        rules: list[ScopedRule] = []
        scopes: tuple[tuple[Scope, str, ShareConfig | None], ...] = (
            ("organisation", organisation_name, organisation),
            ("team", team_name, team),
            ("app", name, ShareConfig(limits=app.limits, budget=app.budget)),
            ("key", f"{name}/{key}", app.per_key if key else None),
        )
        for scope, whose, each in scopes:
            if each is not None:
                rules += scoped_rules_of(scope, whose, rules_of(each.limits, each.budget, currencies))
        return Caller(
            name,
            app.allowed,
            frozenset(app.labels),
            frozenset(app.ingest),
            tuple(rules),
            rules_of(app.per_user.limits, app.per_user.budget, currencies),
            team_name,
            organisation_name,
            key,
            surfaces=frozenset(app.surfaces),
            networks=tuple(map(ipaddress.ip_network, app.networks)),
        )

    def _refresh(self) -> None:
        if self._stored is None or self._stored.changed == self._seen:
            return
        self._seen = self._stored.changed
        self._callers, self._of_tokens, self._strict = {}, {}, {}
        self._parties = {}
        for party in self._stored.parties:
            try:
                made = _STRUCTS[party.kind].model_validate_json(
                    party.options, strict=False, context={"kinds": self._config.kinds}
                )
                _check_budgets(made, self._config)
            except (KeyError, ValueError):
                # Of a later version, damaged, or in a removed currency: its apps are refused rather than unlimited.
                structlog.get_logger().error("options can't be read: the apps they apply to are refused",
                                             kind=party.kind, name=party.name)  # fmt: skip
                continue
            self._parties[party.kind, party.name] = made


def check_options(kind: str, options: Mapping[str, Any], config: Config | None = None) -> str:
    """The options of a new app, team or organisation as the database stores them. Raises `ValueError`."""
    if kind == "app" and "keys" in options:
        raise ValueError("keys: an app in the database can't have keys here; use `gatehouse keys create`")
    try:
        made = _STRUCTS[kind].model_validate_json(
            json.dumps(options), strict=False, context={"kinds": config.kinds} if config is not None else None
        )
    except ValidationError as error:
        messages = [f"{'.'.join(map(str, each['loc'])) or 'options'}: {_message(each)}" for each in error.errors()]
        raise ValueError("; ".join(messages)) from None
    if config is not None:
        _check_references(made, config)
    return json.dumps(options, sort_keys=True)


def _message(error: ErrorDetails) -> str:
    return error["msg"].replace("{value}", quote(error["input"])).replace("{text}", bare(error["input"]))


def _check_references(made: AppConfig | TeamConfig | OrganisationConfig, config: Config) -> None:
    if isinstance(made, AppConfig):
        _known("models", set(made.models) - {"*"}, config.models)
        _known("ingest", made.ingest, config.sources)
    _check_budgets(made, config)


def _check_budgets(made: AppConfig | TeamConfig | OrganisationConfig, config: Config) -> None:
    budgets = list(made.budget)
    if isinstance(made, AppConfig):
        budgets += [*made.per_key.budget, *made.per_user.budget]
    _known("downgrade", {each.downgrade for each in budgets if each.downgrade is not None}, config.models)
    _known("budget", {each.spend.currency for each in budgets}, {"USD": 1, **config.currencies})


def _known(place: str, names: Iterable[str], known: Mapping[str, object]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{place}: there is no {unknown[0][:128]}; use one of: {', '.join(known) or 'none'}")


KEY_OPTIONS = ("models", "pipelines", "sources", "surfaces", "networks")


def check_key_options(options: Mapping[str, Any], surfaces: Collection[str]) -> str:
    """The restrictions of a new key as the database stores them; `surfaces` are all known ones. Raises `ValueError`."""
    for name, value in options.items():
        if name not in KEY_OPTIONS:
            raise ValueError(f"{name} is unknown; use one of: {', '.join(KEY_OPTIONS)}")
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise ValueError(f"{name} must be a list of names")
    for network in options.get("networks", ()):
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(f"networks: {network[:60]} is not a network; write it like 10.0.0.0/8") from None
    unknown = set(options.get("surfaces", ())) - set(surfaces)
    if unknown:
        raise ValueError(f"surfaces: {min(unknown)[:60]} is unknown; use one of: {', '.join(surfaces)}")
    return json.dumps(dict(options), sort_keys=True)


def read_key_options(text: str, surfaces: Collection[str]) -> dict[str, Any] | None:
    """The restrictions of a key from the database; None if this version can't read them."""
    try:
        options = json.loads(text)
        if not isinstance(options, dict):
            return None
        check_key_options(options, surfaces)
    except (ValueError, TypeError, RecursionError):
        return None
    return options


def narrowed(caller: Caller, options: Mapping[str, Any]) -> Caller:
    """The caller restricted by a key's options: it never gains permissions."""
    models = caller.models
    if "models" in options:
        allowed = frozenset(options["models"])
        models = allowed if models is None else models & allowed
    surfaces = caller.surfaces
    if "surfaces" in options:
        allowed = frozenset(options["surfaces"])
        surfaces = allowed if not surfaces else (surfaces & allowed) or frozenset({"none"})
    sources = frozenset(options["sources"]) if "sources" in options else None
    networks = tuple(map(ipaddress.ip_network, options.get("networks", ())))
    if networks and caller.networks:
        # Both restrictions apply: of two networks one contains the other, or they are disjoint.
        pairs = [(own, app) for own in networks for app in caller.networks]
        both = [
            own if _is_subnet(own, app) else app for own, app in pairs if _is_subnet(own, app) or _is_subnet(app, own)
        ]
        networks = tuple(dict.fromkeys(both)) or (ipaddress.ip_network("255.255.255.255/32"),)
    return msgspec.structs.replace(
        caller,
        models=models,
        surfaces=surfaces,
        networks=networks or caller.networks,
        pipelines=frozenset(options["pipelines"]) if "pipelines" in options else None,
        sources=sources,
        ingest=caller.ingest if sources is None else caller.ingest & sources,
    )


def _is_subnet(inner: Any, outer: Any) -> bool:
    return inner.version == outer.version and bool(inner.subnet_of(outer))


def _token_key(identity: IdentityConfig) -> str:
    return f"token:{identity.issuer}"[:128]


def _with_user(caller: Caller, user: str) -> Caller:
    return msgspec.structs.replace(caller, user=user)


def key_sets(config: Config, fetch: Callable[[str], Any]) -> list[tuple[IdentityConfig, KeySet]]:
    """Pairs each identity provider with the source of its keys."""
    from access.callers.jwks import FileKeySet, RemoteKeySet

    made: list[tuple[IdentityConfig, KeySet]] = []
    for each in config.identity:
        if each.jwks_file is not None:
            made.append((each, FileKeySet(each.jwks_file)))
        else:
            made.append((each, RemoteKeySet(fetch, jwks_url=each.jwks or "", issuer=each.issuer)))
    return made
