"""Who may call, how much, and for how much money: `organisations`, `teams`, `apps`, `identity`, `admin`."""

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
        meant = _meant_spend(value) if isinstance(value, str) and not isinstance(value, Substituted) else ""
        cure = meant or "write it like 500 USD per month (day, week), or 500 USD in 30 days (hours)"
        raise wrong("{value} is no budget", cure) from None
    if spend.hours > 24 * 400:
        raise wrong("{value} looks back too far", "400 days are the most")
    return spend


_MONEY = re.compile(
    r"\s*(?P<sign>[$\u20ac\u00a3])?\s*(?P<amount>[0-9][0-9_,]*(?:\.[0-9]+)?)\s*(?P<word>[$\u20ac\u00a3]|[A-Za-z]+)??"
    r"\s*(?:/|per|an?|\b)\s*(?P<period>[A-Za-z]+)\s*"
)
_CURRENCIES = {"$": "USD", "dollar": "USD", "dollars": "USD", "\u20ac": "EUR", "euro": "EUR", "euros": "EUR",
               "\u00a3": "GBP", "pounds": "GBP"}  # fmt: skip


def _meant_spend(value: str) -> str:
    match = _MONEY.fullmatch(value)
    period = period_of(match["period"]) if match is not None else ""
    if match is None or period not in ("day", "week", "month"):
        return ""
    word = match["sign"] or match["word"] or "USD"
    currency = _CURRENCIES.get(word.lower(), word.upper())
    made = f"{match['amount'].replace(',', '').replace('_', '')} {currency} per {period}"
    try:
        parse_spend(made)
    except ValueError:
        return ""
    return f"did you mean {made}?"


def _zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise wrong("{value} is no time zone that this machine knows", "write it like Europe/Berlin") from None
    return value


class BudgetConfig(Struct):
    """How much may be spent. May be written as a string: `500 USD per month`."""

    shorthand: ClassVar[str] = "spend"
    renamed: ClassVar[Mapping[str, str]] = {"zone": "time_zone", "answer": "default_max_tokens"}

    spend: Annotated[
        Spend,
        BeforeValidator(_read_spend),
        PlainSerializer(write_spend),
        WithJsonSchema({"type": "string", "pattern": f"^{SPEND}$"}),
    ] = Field(
        description="The money: `per day`, `week` or `month` of the calendar, or `in N days` or `hours`, rolling.",
        examples=["500 USD per month"],
    )
    time_zone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="The time zone of its calendar.", examples=["Europe/Berlin"]
    )
    then: Literal["reject", "allow"] = Field(
        default="reject", description="When it is spent: requests are refused, or pass with a finding."
    )
    downgrade: ModelRef | None = Field(
        default=None, description="When it is spent: this model answers instead.", examples=["quick"]
    )
    warn: tuple[Percentage, ...] = Field(
        default=(), description="Shares at which the webhook is called, once each.", examples=["[80%, 100%]"]
    )
    webhook: SecretUrl | None = Field(default=None, description="What is called then, with a POST of JSON.")
    default_max_tokens: Tokens = Field(
        default=4096,
        description="The `max_tokens` of requests that set none: budgets reserve its cost before the call.",
    )
    unknown_price: Literal["refuse", "allow"] = Field(
        default="refuse", description="A target whose price nobody knows: refused, or used and marked as unpriced."
    )
    when_unreachable: Literal["deny", "local"] = Field(
        default="deny",
        description="While Redis is gone: nobody spends, or each replica its share of what was left.",
    )
    shadow: Flag = Field(default=False, description="Counts, and only says what it would have refused.")

    @model_validator(mode="after")
    def _one_way(self) -> BudgetConfig:
        if self.downgrade is not None and self.then == "allow":
            raise wrong("then: allow and downgrade are both given", "keep one of them")
        if self.warn and self.webhook is None:
            raise wrong("nobody would hear of it", "add webhook: URL")
        return self


Budgets = Annotated[tuple[BudgetConfig, ...], Coerce(one_or_several, or_one)]


_LIMITS = ("requests", "tokens", "input_tokens", "output_tokens", "max_concurrent", "streams")


class LimitsConfig(Struct):
    """How much may be asked for. Shared by replicas through `server.redis`."""

    needs = tuple((each,) for each in _LIMITS)
    renamed: ClassVar[Mapping[str, str]] = {"parallel": "max_concurrent"}

    requests: Amounts = Field(
        default=(), description="Requests in a window, one or several.", examples=["600 per minute"]
    )
    tokens: Amounts = Field(
        default=(), description="Tokens of prompts and answers together.", examples=["90000 per minute"]
    )
    input_tokens: Amounts = Field(default=(), description="Tokens of prompts.")
    output_tokens: Amounts = Field(default=(), description="Tokens of answers.")
    max_concurrent: Whole | None = Field(
        default=None, ge=1, description="Requests in flight at the same time.", examples=["20"]
    )
    streams: Whole | None = Field(default=None, ge=1, description="Streamed requests in flight at the same time.")
    when_unreachable: Literal["local", "deny"] = Field(
        default="local", description="While Redis is gone: each replica admits its share, or nobody is admitted."
    )
    shadow: Flag = Field(default=False, description="Counts, and only says what it would have refused.")

    @model_validator(mode="after")
    def _limits_something(self) -> LimitsConfig:
        if not any(getattr(self, each) for each in _LIMITS):
            raise wrong("nothing is limited", "add requests, tokens, max_concurrent or streams")
        return self


class ShareConfig(Struct):
    """Limits and budgets of each one of several."""

    limits: LimitsConfig | None = Field(default=None, description="How much each may ask for.")
    budget: Budgets = Field(default=(), description="How much each may spend.", examples=["5 USD per day"])


class OrganisationConfig(ShareConfig):
    """What teams belong to."""

    limits: LimitsConfig | None = Field(default=None, description="How much all its apps may ask for together.")
    budget: Budgets = Field(
        default=(), description="How much they may spend together.", examples=["5000 USD per month"]
    )


class TeamConfig(OrganisationConfig):
    """Whose apps they are."""

    organisation: Annotated[str, Ref("organisations", "organisation")] | None = Field(
        default=None, description="What it belongs to."
    )


def _all_models(value: object) -> object:
    return ("*",) if value == "*" else value


def _or_all(several: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"const": "*"}, several]}


class AppConfig(Struct):
    """Who may call, and for which models."""

    keys: tuple[Annotated[Secret, AfterValidator(check_hashed)], ...] = Field(
        default=(),
        description="Keys of its callers: references, or `sha256:` and the key's hash (`gatehouse keys hash`). Others "
        "are made by `gatehouse keys create`.",
        examples=['["${SUPPORT_BOT_KEY}"]'],
    )
    team: Annotated[str, Ref("teams", "team")] | None = Field(default=None, description="Whose app it is.")
    models: Annotated[
        tuple[Annotated[str, Ref("models", "model", wildcard="*")], ...], Coerce(_all_models, _or_all)
    ] = Field(default=("*",), description="The models it may ask for; `*` means all.")
    surfaces: tuple[Annotated[str, OneOf("surfaces")], ...] = Field(
        default=(), description="The vendors' APIs that it may use; all without it.", examples=["[openai]"]
    )
    networks: Networks = Field(
        default=(), description="Where its requests may come from; anywhere without it.", examples=["[10.0.0.0/8]"]
    )
    limits: LimitsConfig | None = Field(default=None, description="How much it may ask for; without it no limit.")
    budget: Budgets = Field(default=(), description="How much it may spend.", examples=["500 USD per month"])
    per_key: ShareConfig = Field(default=ShareConfig(), description="The same for each of its keys.")
    per_user: ShareConfig = Field(
        default=ShareConfig(),
        description="The same for each of its users: OpenAI's `user`, Anthropic's `metadata.user_id`, or "
        "`x-gatehouse-user`.",
    )
    labels: tuple[Label, ...] = Field(
        default=(),
        description="What it may see: documents that ask for one of these labels, beside those that ask for none.",
    )
    ingest: tuple[Annotated[str, Ref("sources", "source")], ...] = Field(
        default=(), description="The sources whose documents it may hand in and list."
    )

    @property
    def allowed(self) -> frozenset[str] | None:
        """The models that it may ask for; None means all."""
        return None if "*" in self.models else frozenset(self.models)

    @property
    def key_digests(self) -> frozenset[str]:
        """SHA-256 of each key, in hex."""
        return frozenset(key.digest() for key in self.keys)


def _file(value: object, info: ValidationInfo) -> object:
    return folder_of(value, info) if value is not None else None


class IdentityConfig(Struct):
    """Tokens of an identity provider (OIDC), taken beside keys."""

    needs = (("app",), ("app_claim",))

    issuer: ExactUrl = Field(description="The `iss` of its tokens.", examples=["https://login.example.com"])
    audience: str = Field(min_length=1, description="The `aud` that they must have.", examples=["gatehouse"])
    jwks: PageUrl | None = Field(
        default=None, description="Where its keys are; without it, what its `/.well-known/openid-configuration` says."
    )
    jwks_file: Annotated[Path | None, BeforeValidator(_file), PlainSerializer(str)] = Field(
        default=None, description="Or the file that holds them, read again when it changes."
    )
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = Field(default=("RS256", "ES256", "PS256", "EdDSA"), min_length=1, description="The signatures that are taken.")
    app: Annotated[str, Ref("apps", "app")] | None = Field(default=None, description="The app of all its callers.")
    app_claim: str = Field(default="", description="Or the claim that names the app.", examples=["azp"])
    team_claim: str = Field(default="", description="A claim that must name the app's team, where it has one.")
    user_claim: str = Field(default="sub", description="The claim that names the user.")
    leeway: Duration = Field(default=30.0, description="How far clocks may differ.")

    @model_validator(mode="after")
    def _one_app(self) -> IdentityConfig:
        if (self.app is None) == (not self.app_claim):
            raise wrong("whose requests they are is not clear", "add app: NAME, or app_claim: CLAIM")
        if self.jwks is not None and self.jwks_file is not None:
            raise wrong("jwks and jwks_file are both given", "keep one of them")
        return self


Role = Literal["owner", "admin", "viewer"]


LEAST_ADMIN_KEY = 20
# What the audit calls the process itself.
OURSELVES = "gatehouse"


def _another(name: str) -> str:
    if name.lower() == OURSELVES:
        raise wrong("in the audit this is the gateway itself", "choose another name")
    return name


class AdminKeyConfig(Struct):
    """A person or a program that administrates. May be written as a string: its key."""

    shorthand: ClassVar[str] = "key"

    key: Annotated[Secret, AfterValidator(check_hashed), at_least(LEAST_ADMIN_KEY)] = Field(
        description="Its key: a reference, or `sha256:` and the key's hash.", examples=["${GATEHOUSE_ADMIN_KEY}"]
    )
    role: Role = Field(
        default="admin",
        description="A viewer reads; an admin also makes and revokes keys, apps and teams; an owner also purges and "
        "reloads.",
    )


class AdminConfig(Struct):
    """The admin API; off without keys."""

    listen: Annotated[str, AfterValidator(check_listen)] | None = Field(
        default=None,
        description="A host and port of its own; without it, it is below `/admin` of `server.listen`.",
        examples=["127.0.0.1:8081"],
    )
    keys: dict[Annotated[Name, AfterValidator(_another)], AdminKeyConfig] = Field(
        default={}, description="Who may use it, by name."
    )
    networks: Networks = Field(default=(), description="Where its requests may come from; anywhere without it.")


def _rate_of_exchange(value: object) -> object:
    if isinstance(value, Decimal):
        return value
    try:
        return parse_dollars(value if isinstance(value, str) else "")
    except ValueError:
        raise wrong("{value} is no rate of exchange", "write what one of it is worth, such as 1.08 USD") from None


ExchangeRate = Annotated[
    Decimal,
    BeforeValidator(_rate_of_exchange),
    PlainSerializer(write_dollars),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,6}(\.[0-9]{1,9})? USD$"}),
]
