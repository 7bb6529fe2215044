"""`egress`: the proxy for outbound calls, and the proxy of one provider."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from config.findings import wrong
from config.secret import Secret
from config.struct import Struct
from contract.egress import read_exempt, read_proxy

NONE = "none"


def _proxy(secret: Secret) -> Secret:
    if secret.reveal() != NONE:
        try:
            read_proxy(secret.reveal())
        except ValueError as error:
            raise wrong(
                f"the proxy can't be used: {error}", "write it like http://user:password@proxy.internal:3128, or none"
            ) from None
    return secret


def _exempt(value: str) -> str:
    try:
        return read_exempt(value)
    except ValueError:
        cure = "write it like .internal, api.example.com, host:8443, 10.0.0.0/8 or *"
        raise wrong("{value} is not a host, suffix or network", cure) from None


ProxyUrl = Annotated[Secret, AfterValidator(_proxy)]
"""The URL of a proxy, which may contain a password; or `none`."""


class EgressConfig(Struct):
    """The proxy for outbound HTTP calls: to providers, tools, web pages, webhooks and the trace collector."""

    proxy: ProxyUrl | None = Field(
        default=None,
        description="The proxy URL, or `none`; by default the environment variables `HTTPS_PROXY`, `HTTP_PROXY`, "
        "`ALL_PROXY` and `NO_PROXY` apply. Calls to this machine never use a proxy.",
        examples=["http://proxy.internal:3128"],
    )
    no_proxy: tuple[Annotated[str, AfterValidator(_exempt)], ...] = Field(
        default=(),
        description="Destinations that bypass the proxy: hosts with their subdomains, suffixes, networks, `host:port`, "
        "`*`.",
        examples=["[.internal, 10.0.0.0/8]"],
    )
