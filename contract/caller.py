"""The caller of a request, identified by a key or a token."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import msgspec

from contract.rules import LimitRule, ScopedRule


class Caller(msgspec.Struct, frozen=True):
    """A caller: its app, the models it may request (None: all), its labels, and the sources it may upload to.

    `key` is the id of its key, never the key. Empty `surfaces` and `networks`, and `pipelines` and `sources` of None,
    mean that all are allowed.
    """

    app: str
    models: frozenset[str] | None = None
    labels: frozenset[str] = frozenset()
    ingest: frozenset[str] = frozenset()
    rules: tuple[ScopedRule, ...] = ()
    user_rules: tuple[LimitRule, ...] = ()
    team: str = ""
    organisation: str = ""
    key: str = ""
    user: str = ""
    surfaces: frozenset[str] = frozenset()
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    pipelines: frozenset[str] | None = None
    sources: frozenset[str] | None = None
