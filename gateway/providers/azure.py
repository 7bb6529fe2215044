"""`kind: azure`: OpenAI's models on Azure, each in a deployment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.providers import KEYED, NetworkConfig
from config.struct import HttpUrl
from contract.endpoint import Endpoint
from gateway.providers.openai import MaxTokensField, max_tokens


class AzureConfig(NetworkConfig):
    """OpenAI's models on Azure."""

    needs = KEYED
    speaks = "openai"
    price_list = "azure"
    models_of = "openai"
    address_key = "endpoint"
    adds = r"/openai(?:/.*)?"

    kind: Literal["azure"] = Field(description="OpenAI's models on Azure.")
    endpoint: HttpUrl = Field(description="The resource's address.", examples=["https://NAME.openai.azure.com"])
    api_version: str = Field(min_length=1, description="Azure's API version.", examples=["2024-10-21"])
    deployments: dict[str, str] = Field(
        default={}, description="Maps a model to its deployment. A model without an entry is its own deployment's name."
    )
    max_tokens_field: MaxTokensField = "auto"

    def endpoint_of(self) -> Endpoint:
        """See `NetworkConfig.endpoint_of`."""
        return Endpoint(
            self.endpoint,
            auth="api-key",
            scheme="",
            path="/openai/deployments/{model}{path}?api-version=" + self.api_version,
            models=self.deployments,
            max_tokens=max_tokens(self.max_tokens_field),
        )
