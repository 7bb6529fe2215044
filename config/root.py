"""The complete file as one struct. A new section is one field here and its struct."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from config.access import AdminConfig, AppConfig, ExchangeRate, IdentityConfig, OrganisationConfig, TeamConfig
from config.caches import CacheConfig
from config.egress import NONE, EgressConfig
from config.findings import wrong
from config.guardrails import GuardrailConfig
from config.kinds import ComponentField, Kinds
from config.models import ModelConfig
from config.prices import PriceName, Prices
from config.providers import ProviderBase
from config.references import Files
from config.renames import Renamed
from config.routers import RouterConfig
from config.sections import ObserveConfig, PipelineConfig, ServerConfig
from config.sources import SourceConfig
from config.struct import ModelName, Name, Struct
from config.tools import ToolConfig
from contract.egress import DIRECT, Egress, read_proxy


def _currency(value: str) -> str:
    if re.fullmatch(r"[A-Z]{3}", value) is None or value == "USD":
        raise wrong("{value} is not a currency that needs an exchange rate", "write three capital letters, such as EUR")
    return value


Currency = Annotated[str, AfterValidator(_currency)]


class Config(Struct):
    """A checked configuration: every name in it exists, and every reference is resolved."""

    version: Literal[1] = Field(description="The version of the file format.", examples=["1"])
    server: ServerConfig = Field(
        default=ServerConfig(), description="Where Gatehouse listens, and how it starts, reloads and stops."
    )
    access: Literal["keys", "open"] = Field(
        default="open",
        description="Who may call: apps with a key, or anyone on this machine. `keys` is the default with apps.",
    )
    providers: dict[Name, Annotated[ProviderBase, ComponentField("providers")]] = Field(
        default={}, description="Providers of models, by name."
    )
    models: dict[ModelName, ModelConfig] = Field(default={}, description="The models that apps may request, by name.")
    pipelines: dict[Name, PipelineConfig] = Field(
        default={}, description="Pipelines, which define what each phase does, by name."
    )
    guardrails: dict[Name, Annotated[GuardrailConfig, ComponentField("guardrails")]] = Field(
        default={}, description="Checks on requests and responses, by name."
    )
    caches: dict[Name, CacheConfig] = Field(default={}, description="Response caches, by name.")
    routers: dict[Name, Annotated[RouterConfig, ComponentField("routers", default="intents")]] = Field(
        default={}, description="Routers, which choose the model, pipeline or fixed answer of a request, by name."
    )
    sources: dict[Name, Annotated[SourceConfig, ComponentField("sources")]] = Field(
        default={}, description="Documents to retrieve from, by name."
    )
    tools: dict[Name, Annotated[ToolConfig, ComponentField("tools")]] = Field(
        default={}, description="Tools that a model may call to fetch context, by name."
    )
    prices: dict[PriceName, Prices] = Field(
        default={},
        description="Prices of targets that the bundled price list lacks or that differ for you. `*` in a model name "
        "matches any characters; the name with the most other characters wins.",
        examples=["{onprem/*: free}"],
    )
    currencies: dict[Currency, ExchangeRate] = Field(
        default={},
        description="Exchange rates to USD, for budgets in other currencies.",
        examples=["{EUR: 1.08 USD}"],
    )
    organisations: dict[Name, OrganisationConfig] = Field(
        default={}, description="Organisations, which group teams, by name."
    )
    teams: dict[Name, TeamConfig] = Field(default={}, description="Teams, which own apps, by name.")
    apps: dict[Name, AppConfig] = Field(default={}, description="Apps that may call the gateway, by name.")
    identity: tuple[IdentityConfig, ...] = Field(
        default=(), description="Identity providers whose tokens are accepted."
    )
    egress: EgressConfig = Field(default=EgressConfig(), description="The proxy for outbound calls.")
    admin: AdminConfig = Field(default=AdminConfig(), description="The admin API, and who may use it.")
    observe: ObserveConfig = Field(default=ObserveConfig(), description="Traces, metrics and logs.")

    _digest: str = PrivateAttr(default="")
    _origin: str = PrivateAttr(default="")
    _files: Files = PrivateAttr(default={})
    _environment: Egress = PrivateAttr(default=DIRECT)
    _kinds: Kinds = PrivateAttr(default=Kinds({}))
    _renamed: tuple[Renamed, ...] = PrivateAttr(default=())

    @property
    def origin(self) -> str:
        """The path of its file; empty if built in code."""
        return self._origin

    @property
    def files(self) -> Files:
        """The files that it was read from, with `config.references.stamp` of each; none if built in code."""
        return self._files

    @property
    def kinds(self) -> Kinds:
        """The kinds of components that it was read with; none if built in code."""
        return self._kinds

    @property
    def old_names(self) -> tuple[Renamed, ...]:
        """The old names that the file still uses."""
        return self._renamed

    @property
    def surfaces(self) -> tuple[str, ...]:
        """The vendor APIs to which an app or a key may be restricted."""
        return tuple(self._kinds.listed.get("surfaces", ()))

    @property
    def digest(self) -> str:
        """12 hex digits that change with the file's text and with every referenced value; empty if built in code."""
        return self._digest

    @property
    def outbound(self) -> Egress:
        """The proxies of outbound calls: from `egress`, else from the environment."""
        own, proxy = self.egress, self.egress.proxy
        if proxy is None:
            found = self._environment
            return Egress(found.http, found.https, (*found.exempt, *own.no_proxy))
        if proxy.reveal() == NONE:
            return DIRECT
        read = read_proxy(proxy.reveal())
        return Egress(read, read, own.no_proxy)

    @model_validator(mode="before")
    @classmethod
    def _access_follows_apps(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("apps") and "access" not in data:
            return {**data, "access": "keys"}
        return data
