"""`kind: openai`: OpenAI, or any compatible server."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from config.providers import KEYED, NetworkConfig
from config.struct import HttpUrl
from contract.endpoint import Endpoint

DEFAULT_URL = "https://api.openai.com/v1"
_NATIVE_HOSTS = ("api.openai.com", ".openai.azure.com")
MaxTokensField = Annotated[
    Literal["auto", "max_tokens", "max_completion_tokens"],
    Field(
        description="The field for the token limit: reasoning models accept only `max_completion_tokens`, many other "
        "servers only `max_tokens`. `auto`: the former for OpenAI, Azure and models named `o1`, `o3`, "
        "`o4`, `gpt-5` and later, the latter for others."
    ),
]


ToolIds = Annotated[
    Literal["auto", "any", "nine_letters"],
    Field(
        description="The tool call ids that the server accepts. Mistral's API and its models' chat templates require "
        "nine letters or digits. `auto`: `nine_letters` for api.mistral.ai, `any` for others."
    ),
]


class OpenAIConfig(NetworkConfig):
    """OpenAI, or any compatible server."""

    needs = (*KEYED, ("base_url",))
    speaks = "openai"
    models_of = "openai"
    adds = r"/(?:chat/completions|completions|embeddings|responses|models)"

    kind: Literal["openai"] = Field(description="OpenAI's dialect, at any `base_url`.")
    base_url: HttpUrl = Field(default=DEFAULT_URL, description="The base URL of the API.")
    max_tokens_field: MaxTokensField = "auto"
    tool_ids: ToolIds = "auto"

    def _needs_key(self) -> bool:
        return self.base_url == DEFAULT_URL

    def address_remark(self) -> tuple[str, str] | None:
        """See `NetworkConfig.address_remark`."""
        remark = super().address_remark()
        parts = urlsplit(self.base_url)
        if remark is None and parts.hostname == "api.openai.com" and not parts.path.rstrip("/"):
            return "the paths of this server begin with /v1", f"write {self.base_url.rstrip('/')}/v1"
        return remark

    def endpoint_of(self) -> Endpoint:
        """See `NetworkConfig.endpoint_of`."""
        mistral = urlsplit(self.base_url).hostname == "api.mistral.ai"
        return Endpoint(
            self.base_url,
            native=any(host in self.base_url for host in _NATIVE_HOSTS),
            max_tokens=max_tokens(self.max_tokens_field),
            nine_letter_ids=self.tool_ids == "nine_letters" or (self.tool_ids == "auto" and mistral),
        )


def max_tokens(field: str) -> str:
    """The name of the token limit field; empty for the default."""
    return "" if field == "auto" else field
