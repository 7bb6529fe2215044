"""`kind: gemini`: Google's generateContent API."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.providers import KEYED, NetworkConfig
from config.struct import HttpUrl
from contract.endpoint import Endpoint


class GeminiConfig(NetworkConfig):
    """Google's generateContent API."""

    needs = KEYED
    speaks = "gemini"
    models_of = "google"
    adds = r"/(?:v[0-9][a-z0-9]*)?(?:/?models(?:/[^/]*)?)?"

    kind: Literal["gemini"] = Field(description="Gemini's generateContent dialect.")
    base_url: HttpUrl = Field(
        default="https://generativelanguage.googleapis.com", description="The base URL of the API."
    )
    version: str = Field(default="v1beta", pattern=r"^v[0-9][a-z0-9]*$", description="The API version in the path.")

    def endpoint_of(self) -> Endpoint:
        """See `NetworkConfig.endpoint_of`."""
        return Endpoint(self.base_url, auth="x-goog-api-key", scheme="", version=self.version)
