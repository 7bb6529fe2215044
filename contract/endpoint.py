"""The endpoint of a provider's server."""

from __future__ import annotations

from typing import Literal

import msgspec

from contract.egress import Proxy

Unsupported = Literal["drop", "refuse"]
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class Endpoint(msgspec.Struct, frozen=True):
    """How to reach a provider. `auth` is the header that contains the key, `scheme` the prefix of the key."""

    base_url: str
    auth: str = "authorization"
    scheme: str = "Bearer "
    headers: dict[str, str] = {}
    version: str = ""
    native: bool = True
    unsupported: Unsupported = "drop"
    path: str = ""  # replaces the dialect's path; `{model}` and `{path}` are filled in (Azure's deployments)
    models: dict[str, str] = {}  # the config's model id -> the provider's
    prompt_cache: bool = False
    max_answer: int = MAX_ANSWER_BYTES
    max_tokens: str = ""  # the name of the output limit, if it is not the dialect's default
    nine_letter_ids: bool = False
    connect_s: float = 5.0
    max_connections: int = 1000
    proxy: Proxy | None = None
    http2: bool = False
