"""`kind: anthropic`: Anthropic's Messages API, or a compatible server."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from config.providers import KEYED, NetworkConfig
from config.struct import HttpUrl
from contract.endpoint import Endpoint


class AnthropicConfig(NetworkConfig):
    """Anthropic's Messages API, or a compatible server."""

    needs = KEYED
    speaks = "anthropic"
    models_of = "anthropic"
    adds = r"/v1(?:/messages)?"

    kind: Literal["anthropic"] = Field(description="Anthropic's Messages dialect.")
    base_url: HttpUrl = Field(default="https://api.anthropic.com", description="The base URL of the API.")
    version: Literal["2023-06-01", "2026-10-21"] = Field(default="2023-06-01", description="`anthropic-version`.")
    auth: Literal["x-api-key", "bearer"] = Field(
        default="x-api-key", description="How the key is sent; `bearer` is the default with version 2026-10-21."
    )
    prompt_cache: Literal["off", "auto"] = Field(
        default="off",
        description="`auto` adds cache breakpoints to long stable prefixes, unless the caller has set its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _auth_follows_version(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("version") == "2026-10-21" and data.get("auth") is None:
            return {**data, "auth": "bearer"}
        return data

    def endpoint_of(self) -> Endpoint:
        """See `NetworkConfig.endpoint_of`."""
        bearer = self.auth == "bearer"
        return Endpoint(
            self.base_url,
            auth="authorization" if bearer else "x-api-key",
            scheme="Bearer " if bearer else "",
            version=self.version,
            prompt_cache=self.prompt_cache == "auto",
        )
