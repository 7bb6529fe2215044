"""`providers`: a dialect with credentials. The kind is read first, then the options by the kind's own struct."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from config.access import LimitsConfig
from config.egress import ProxyUrl
from config.findings import wrong
from config.secret import ApiKey, Secret
from config.struct import Checked, Component, Flag, HttpUrl, Read, Whole
from config.units import Duration, Size

UnsupportedParams: TypeAlias = Literal["drop", "refuse"]
DEFAULT_OPENAI_URL = "https://api.openai.com/v1"


def _header_name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value) is None:
        raise wrong("this is no name of an HTTP header", "write it like X-Team")
    return value


HeaderName = Annotated[str, Checked(_header_name, r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
Headers = dict[HeaderName, Secret]


MaxAnswer = Annotated[
    Size,
    Field(
        description="The most bytes that one answer may have, all of a stream counted; what is longer is broken off."
    ),
]
KEYED = (("api_key",), ("api_keys",))
DEFAULT_MAX_ANSWER = 64 * 1024 * 1024


class NetworkConfig(Component):
    """What every provider behind HTTP has. Several keys are used in rotation."""

    kind: str = Field(description="The dialect and its options.")
    api_key: ApiKey | None = Field(default=None, description="The credential, as a reference.")
    api_keys: tuple[ApiKey, ...] = Field(default=(), description="Several credentials, used in rotation.")
    headers: Headers = Field(default={}, description="Headers to send with every request; values count as secrets.")
    trusted: Flag = Field(
        default=False, description="Self-hosted: gets the original values where others get masked ones."
    )
    connect: Duration = Field(default=5.0, description="Time to open a connection.")
    proxy: ProxyUrl | None = Field(
        default=None,
        description="The proxy that this provider is reached through, whatever its address; `none` for none. Without "
        "it `egress` holds.",
        examples=["http://proxy.internal:3128"],
    )
    max_connections: Whole = Field(default=1000, ge=1, description="Connections open at the same time.")
    max_answer: MaxAnswer = DEFAULT_MAX_ANSWER
    unsupported_params: UnsupportedParams = Field(
        default="drop", description="What to do with request fields that the provider's dialect can't say."
    )
    limits: LimitsConfig | None = Field(
        default=None, description="How much is asked of it at most; beyond that the next target is tried."
    )

    @property
    def keys(self) -> tuple[Secret, ...]:
        """All credentials in the order in which they are used; empty for a server that asks for none."""
        return (self.api_key,) if self.api_key else self.api_keys

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> NetworkConfig:
        if self.api_key and self.api_keys:
            raise wrong("api_key and api_keys are both given", "keep api_keys and put all keys there")
        if not self.keys and self._needs_key():
            raise wrong("a key is missing", 'add api_key: "${...}" with the name of an environment variable')
        return self

    def _needs_key(self) -> bool:
        return True


MaxTokensField = Annotated[
    Literal["auto", "max_tokens", "max_completion_tokens"],
    Field(
        description="The field that bounds an answer: reasoning models take `max_completion_tokens` only, many other "
        "servers `max_tokens` only. `auto`: the former for OpenAI, Azure and models called `o1`, `o3`, "
        "`o4`, `gpt-5` and later, the latter for others."
    ),
]


ToolIds = Annotated[
    Literal["auto", "any", "nine_letters"],
    Field(
        description="The ids of earlier tool calls that the server takes. Mistral's API and the templates of its "
        "models take nine letters or digits. `auto`: those for api.mistral.ai, any for others."
    ),
]


class OpenAIConfig(NetworkConfig):
    """OpenAI, or any server that speaks its dialect."""

    needs = (*KEYED, ("base_url",))

    kind: Literal["openai"] = Field(description="OpenAI's dialect, at any `base_url`.")
    base_url: HttpUrl = Field(default=DEFAULT_OPENAI_URL, description="Where the API's paths begin.")
    max_tokens_field: MaxTokensField = "auto"
    tool_ids: ToolIds = "auto"

    def _needs_key(self) -> bool:
        return self.base_url == DEFAULT_OPENAI_URL


class AzureConfig(NetworkConfig):
    """OpenAI's models on Azure."""

    needs = KEYED
    kind: Literal["azure"] = Field(description="OpenAI's models on Azure.")
    endpoint: HttpUrl = Field(description="The resource's address.", examples=["https://NAME.openai.azure.com"])
    api_version: str = Field(min_length=1, description="Azure's API version.", examples=["2024-10-21"])
    deployments: dict[str, str] = Field(
        default={}, description="Model to the name of its deployment; a model that is not here is its own deployment."
    )
    max_tokens_field: MaxTokensField = "auto"


class AnthropicConfig(NetworkConfig):
    """Anthropic's Messages API, or a server that speaks it."""

    needs = KEYED

    kind: Literal["anthropic"] = Field(description="Anthropic's Messages dialect.")
    base_url: HttpUrl = Field(default="https://api.anthropic.com", description="Where the API's paths begin.")
    version: Literal["2023-06-01", "2026-10-21"] = Field(default="2023-06-01", description="`anthropic-version`.")
    auth: Literal["x-api-key", "bearer"] = Field(
        default="x-api-key", description="How the key travels; `bearer` is the default with version 2026-10-21."
    )
    prompt_cache: Literal["off", "auto"] = Field(
        default="off",
        description="`auto` marks long stable prefixes to be kept by the provider, where a caller has placed no marks.",
    )

    @model_validator(mode="before")
    @classmethod
    def _auth_follows_version(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("version") == "2026-10-21" and data.get("auth") is None:
            return {**data, "auth": "bearer"}
        return data


class GeminiConfig(NetworkConfig):
    """Google's generateContent API."""

    needs = KEYED

    kind: Literal["gemini"] = Field(description="Gemini's generateContent dialect.")
    base_url: HttpUrl = Field(
        default="https://generativelanguage.googleapis.com", description="Where the API's paths begin."
    )
    version: str = Field(default="v1beta", pattern=r"^v[0-9][a-z0-9]*$", description="The API version in the path.")


def address_of(config: NetworkConfig) -> str:
    """The URL that a provider is asked at."""
    return str(getattr(config, "base_url", "") or getattr(config, "endpoint", ""))


class ExtractiveConfig(Component):
    """The built-in model that quotes documents: no key, no network, no options."""

    kind: Literal["extractive"] = Field(description="The built-in model that quotes your documents.")


def _script(value: object) -> object:
    """A fault, a list of them or a map of model to either, all as a map of model (`*`: any) to a list."""

    def faults(each: object) -> object:
        listed = each if isinstance(each, tuple) else (each,)
        return tuple(str(f) if isinstance(f, int) and not isinstance(f, bool) else f for f in listed)

    if isinstance(value, dict):
        return {model: faults(each) for model, each in value.items()}
    return {"*": faults(value)}


def _or_faults(_: dict[str, Any]) -> dict[str, Any]:
    fault = {"type": ["string", "integer"]}
    faults = {"anyOf": [fault, {"type": "array", "items": fault}]}
    return {"anyOf": [*faults["anyOf"], {"type": "object", "additionalProperties": faults}]}


class SimulatedConfig(Component):
    """The scriptable upstream that acts out faults."""

    kind: Literal["simulated"] = Field(description="A scriptable upstream that acts out faults, for trying policies.")
    dialect: Literal["openai", "anthropic", "gemini"] = Field(default="openai", description="The dialect it speaks.")
    script: Annotated[dict[str, tuple[str, ...]], Read(_script, _or_faults)] = Field(
        default={},
        description="What it does: a fault (`ok`, `429`, `cut-20`, ...), a list in order, or a map of model to either.",
    )
    says: dict[str, str] = Field(
        default={},
        description="The words of its answers, by model (`*`: any).",
        examples=["{writer: SELECT count(*) FROM orders}"],
    )
    base_url: HttpUrl | None = Field(
        default=None, description="A simulator that runs already; without it one is started."
    )
    max_answer: MaxAnswer = DEFAULT_MAX_ANSWER
    limits: LimitsConfig | None = Field(
        default=None, description="How much is asked of it at most; beyond that the next target is tried."
    )

    @model_validator(mode="after")
    def _own(self) -> SimulatedConfig:
        if self.base_url is not None and self.says:
            raise wrong("says belongs to a simulator that is started here", "leave out base_url or says")
        return self


ProviderConfig: TypeAlias = (
    OpenAIConfig | AzureConfig | AnthropicConfig | GeminiConfig | ExtractiveConfig | SimulatedConfig
)
