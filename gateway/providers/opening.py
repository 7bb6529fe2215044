"""Selects the HTTP client for a provider; loads libraries only if needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.providers.http import ConnectionPool

if TYPE_CHECKING:
    from contract.endpoint import Endpoint
    from gateway.providers.transport import Transport


def open_transport(endpoint: Endpoint) -> Transport:
    """Returns the transport for an endpoint."""
    bounds = (endpoint.max_connections, endpoint.max_answer)
    if endpoint.http2:
        from gateway.providers.http2 import Http2Pool

        return Http2Pool(endpoint.base_url, *bounds, proxy=endpoint.proxy)
    if endpoint.proxy is not None:
        from gateway.providers.proxied import ProxiedPool

        return ProxiedPool(endpoint.base_url, *bounds, proxy=endpoint.proxy)
    return ConnectionPool(endpoint.base_url, *bounds)
