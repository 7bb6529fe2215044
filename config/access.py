"""Access control, rate limits and budgets: `organisations`, `teams`, `apps`, `identity`, `admin`."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from config.findings import Substituted, wrong
from config.kinds import OneOf
from config.listening import Networks, check_listen
from config.secret import Secret, SecretUrl, at_least, check_hashed
from config.sources import folder_of
from config.struct import Coerce, ExactUrl, Flag, Label, Name, PageUrl, Ref, Struct, Whole, one_or_several, or_one
from config.units import Duration, Percentage, Tokens, period_of, read_rate
from contract.units import SPEND, Rate, Spend, parse_dollars, parse_spend, write_dollars, write_rate, write_spend

ModelRef = Annotated[str, Ref("models", "model")]

Amount = Annotated[
    Rate,
    BeforeValidator(read_rate),
    PlainSerializer(write_rate),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]* per (second|minute|hour|day)$"}),
]


Amounts = Annotated[tuple[Amount, ...], Coerce(one_or_several, or_one)]


def _read_spend(value: object) -> object:
    if isinstance(value, Spend):
        return value
    try:
        spend = parse_spend(value if isinstance(value, str) else "")
    except ValueError:
        suggestion = _suggest_spend(value) if isinstance(value, str) and not isinstance(value, Substituted) else ""
        cure = suggestion or "write it like 500 USD per month (day, week), or 500 USD in 30 days (hours)"
        raise wrong("{value} is not a budget", cure) from None
    if spend.hours > 24 * 400:
        raise wrong("the window {value} is too long", "use at most 400 days")
    return spend


_MONEY = re.compile(
    r"\s*(?P<sign>[$\u20ac\u00a3])?\s*(?P<amount>[0-9][0-9_,]*(?:\.[0-9]+)?)\s*(?P<word>[$\u20ac\u00a3]|[A-Za-z]+)??"
    r"\s*(?:/|per|an?|\b)\s*(?P<period>[A-Za-z]+)\s*"
)
_CURRENCIES = {"$": "USD", "dollar": "USD", "dollars": "USD", "\u20ac": "EUR", "euro": "EUR", "euros": "EUR",
               "\u00a3": "GBP", "pounds": "GBP"}  # fmt: skip


def _suggest_spend(value: str) -> str:
    match = _MONEY.fullmatch(value)
    period = period_of(match["period"]) if match is not None else ""
    if match is None or period not in ("day", "week", "month"):
        return ""
    word = match["sign"] or match["word"] or "USD"
    currency = _CURRENCIES.get(word.lower(), word.upper())
    text = f"{match['amount'].replace(',', '').replace('_', '')} {currency} per {period}"
    try:
        parse_spend(text)
    except ValueError:
        return ""
    return f"did you mean {text}?"


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("{value} is not a time zone on this machine", "write it like Europe/Berlin") from None
    return value


class BudgetConfig(Struct):
    """A spending limit. May be written as a string: `500 USD per month`."""

    shorthand: ClassVar[str] = "spend"
    renamed: ClassVar[Mapping[str, str]] = {"zone": "time_zone", "answer": "default_max_tokens"}

    spend: Annotated[
        Spend,
        BeforeValidator(_read_spend),
        PlainSerializer(write_spend),
        WithJsonSchema({"type": "string", "pattern": f"^{SPEND}$"}),
    ] = Field(
        description="The amount: `per day`, `week` or `month` of the calendar, or a rolling `in N days` or `hours`.",
        examples=["500 USD per month"],
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="The time zone of the calendar.", examples=["Europe/Berlin"]
    )
    then: Literal["reject", "allow"] = Field(
        default="reject", description="When the budget is used up: reject requests, or allow them with a finding."
    )
    downgrade: ModelRef | None = Field(
        default=None, description="When the budget is used up: this model answers instead.", examples=["quick"]
    )
    warn: tuple[Percentage, ...] = Field(
        default=(),
        description="Used shares of the budget at which the webhook is called, once each.",
        examples=["[80%, 100%]"],
    )
    webhook: SecretUrl | None = Field(
        default=None, description="The URL to call at each `warn` share, with a JSON POST."
    )
    default_max_tokens: Tokens = Field(
        default=4096,
        description="The `max_tokens` of requests that set none; the budget reserves its cost before the call.",
    )
    unknown_price: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="Targets without a known price: refuse them, or use them and mark the request as unpriced.",
    )
    when_unreachable: Literal["deny", "local"] = Field(
        default="deny",
        description="While Redis is unreachable: deny all requests, or let each replica spend its share of the rest.",
    )
    shadow: Flag = Field(default=False, description="Dry run: count, and only record what would have been rejected.")

    @model_validator(mode="after")
    def _one_way(self) -> BudgetConfig:
        if self.downgrade is not None and self.then == "allow":
            raise wrong("then: allow and downgrade are both given", "keep one of them")
        if self.warn and self.webhook is None:
            raise wrong("warn needs a webhook to call", "add webhook: URL")
        return self


Budgets = Annotated[tuple[BudgetConfig, ...], Coerce(one_or_several, or_one)]


_LIMITS = ("requests", "tokens", "input_tokens", "output_tokens", "max_concurrent", "streams")


class LimitsConfig(Struct):
    """Rate limits. Replicas share them through `server.redis`."""

    needs = tuple((each,) for each in _LIMITS)
    renamed: ClassVar[Mapping[str, str]] = {"parallel": "max_concurrent"}

    requests: Amounts = Field(
        default=(), description="Requests per window; one limit or several.", examples=["600 per minute"]
    )
    tokens: Amounts = Field(
        default=(), description="Input and output tokens together, per window.", examples=["90000 per minute"]
    )
    input_tokens: Amounts = Field(default=(), description="Input tokens per window.")
    output_tokens: Amounts = Field(default=(), description="Output tokens per window.")
    max_concurrent: Whole | None = Field(default=None, ge=1, description="Concurrent requests.", examples=["20"])
    streams: Whole | None = Field(default=None, ge=1, description="Concurrent streamed requests.")
    when_unreachable: Literal["local", "deny"] = Field(
        default="local",
        description="While Redis is unreachable: let each replica admit its share, or deny all requests.",
    )
    shadow: Flag = Field(default=False, description="Dry run: count, and only record what would have been rejected.")

    @model_validator(mode="after")
    def _limits_something(self) -> LimitsConfig:
        if not any(getattr(self, each) for each in _LIMITS):
            raise wrong("nothing is limited", "add requests, tokens, max_concurrent or streams")
        return self


class ShareConfig(Struct):
    """Limits and budgets that apply to each key or user separately."""

    limits: LimitsConfig | None = Field(default=None, description="Rate limits of each.")
    budget: Budgets = Field(default=(), description="Budget of each.", examples=["5 USD per day"])


class OrganisationConfig(ShareConfig):
    """A group of teams with common limits and budgets."""

    limits: LimitsConfig | None = Field(default=None, description="Rate limits of all its apps together.")
    budget: Budgets = Field(default=(), description="Budget of all its apps together.", examples=["5000 USD per month"])


class TeamConfig(OrganisationConfig):
    """A team that owns apps."""

    organisation: Annotated[str, Ref("organisations", "organisation")] | None = Field(
        default=None, description="The organisation that the team belongs to."
    )


def _all_models(value: object) -> object:
    return ("*",) if value == "*" else value


def _or_all(several: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"const": "*"}, several]}


class AppConfig(Struct):
    """An app that may call the gateway, and what it may use."""

    keys: tuple[Annotated[Secret, AfterValidator(check_hashed)], ...] = Field(
        default=(),
        description="API keys of its callers: references, or `sha256:` and the hash of the key (`gatehouse keys hash`)."
        " `gatehouse keys create` adds more keys in the database.",
        examples=['["${SUPPORT_BOT_KEY}"]'],
    )
    team: Annotated[str, Ref("teams", "team")] | None = Field(default=None, description="The team that owns the app.")
    models: Annotated[
        tuple[Annotated[str, Ref("models", "model", wildcard="*")], ...], Coerce(_all_models, _or_all)
    ] = Field(default=("*",), description="The models it may request; `*` means all.")
    surfaces: tuple[Annotated[str, OneOf("surfaces")], ...] = Field(
        default=(), description="The vendor APIs it may use; empty means all.", examples=["[openai]"]
    )
    networks: Networks = Field(
        default=(), description="Networks its requests may come from; empty means any.", examples=["[10.0.0.0/8]"]
    )
    limits: LimitsConfig | None = Field(default=None, description="Rate limits; unset means unlimited.")
    budget: Budgets = Field(default=(), description="Budget of the app.", examples=["500 USD per month"])
    per_key: ShareConfig = Field(default=ShareConfig(), description="Limits and budgets of each of its keys.")
    per_user: ShareConfig = Field(
        default=ShareConfig(),
        description="Limits and budgets of each of its users: OpenAI's `user`, Anthropic's `metadata.user_id`, or "
        "`x-gatehouse-user`.",
    )
    labels: tuple[Label, ...] = Field(
        default=(),
        description="Labels that give access to documents: the app sees documents with one of these labels, and those "
        "without labels.",
    )
    ingest: tuple[Annotated[str, Ref("sources", "source")], ...] = Field(
        default=(), description="The sources to which it may upload documents, and whose documents it may list."
    )

    @property
    def allowed(self) -> frozenset[str] | None:
        """The models it may request; None means all."""
        return None if "*" in self.models else frozenset(self.models)

    @property
    def key_digests(self) -> frozenset[str]:
        """SHA-256 of each key, in hex."""
        return frozenset(key.digest() for key in self.keys)


def _file(value: object, info: ValidationInfo) -> object:
    return folder_of(value, info) if value is not None else None


class IdentityConfig(Struct):
    """An identity provider (OIDC) whose tokens are accepted besides API keys."""

    needs = (("app",), ("app_claim",))

    issuer: ExactUrl = Field(description="The `iss` of its tokens.", examples=["https://login.example.com"])
    audience: str = Field(min_length=1, description="The `aud` that its tokens must have.", examples=["gatehouse"])
    jwks: PageUrl | None = Field(
        default=None, description="URL of its key set; by default from its `/.well-known/openid-configuration`."
    )
    jwks_file: Annotated[Path | None, BeforeValidator(_file), PlainSerializer(str)] = Field(
        default=None, description="Or a file with its key set, reloaded when it changes."
    )
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(
        default=("RS256", "ES256", "PS256", "EdDSA"), min_length=1, description="The accepted signature algorithms."
    )
    app: Annotated[str, Ref("apps", "app")] | None = Field(
        default=None, description="The app that all its callers belong to."
    )
    app_claim: str = Field(default="", description="Or the claim that names the app.", examples=["azp"])
    team_claim: str = Field(default="", description="A claim that must name the app's team, if the app has a team.")
    user_claim: str = Field(default="sub", description="The claim that names the user.")
    leeway: Duration = Field(default=30.0, description="The allowed clock skew.")

    @model_validator(mode="after")
    def _one_app(self) -> IdentityConfig:
        if (self.app is None) == (not self.app_claim):
            raise wrong("the app of its callers must be given, in one way only", "add app: NAME, or app_claim: CLAIM")
        if self.jwks is not None and self.jwks_file is not None:
            raise wrong("jwks and jwks_file are both given", "keep one of them")
        return self


Role = Literal["owner", "admin", "viewer"]


LEAST_ADMIN_KEY = 20
# The audit log's name for the process itself.
AUDIT_SELF = "gatehouse"


def _not_reserved(name: str) -> str:
    if name.lower() == AUDIT_SELF:
        raise wrong("the audit log uses this name for the gateway itself", "choose another name")
    return name


class AdminKeyConfig(Struct):
    """A person or a program that uses the admin API. May be written as a string: its key."""

    shorthand: ClassVar[str] = "key"

    key: Annotated[Secret, AfterValidator(check_hashed), at_least(LEAST_ADMIN_KEY)] = Field(
        description="Its key: a reference, or `sha256:` and the hash of the key.", examples=["${GATEHOUSE_ADMIN_KEY}"]
    )
    role: Role = Field(
        default="admin",
        description="A viewer reads; an admin also creates and revokes keys, apps and teams; an owner also purges and "
        "reloads.",
    )


class AdminConfig(Struct):
    """The admin API; off without keys."""

    listen: Annotated[str, AfterValidator(check_listen)] | None = Field(
        default=None,
        description="A separate host and port; by default the admin API is under `/admin` of `server.listen`.",
        examples=["127.0.0.1:8081"],
    )
    keys: dict[Annotated[Name, AfterValidator(_not_reserved)], AdminKeyConfig] = Field(
        default={}, description="Who may use it, by name."
    )
    networks: Networks = Field(default=(), description="Networks its requests may come from; empty means any.")


def _exchange_rate(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    try:
        return parse_dollars(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("{value} is not an exchange rate", "write the value of one unit in USD, such as 1.08 USD") from None


ExchangeRate = Annotated[
    Decimal,
    BeforeValidator(_exchange_rate),
    PlainSerializer(write_dollars),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})? USD$"}),
]
