"""Who calls: what an app, a key or a token stands for."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import msgspec

from contract.rules import LimitRule, ScopedRule


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the app, the models that it may ask for (None: all), what it may see, and the sources it may fill.

    `key` is the id of its key, never the key. `surfaces`, `networks` and `sources` are empty where all are allowed.
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
