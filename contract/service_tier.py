"""The service tiers of providers (flex, priority, batch, ...) under one name each, whatever a vendor calls them."""

from __future__ import annotations

STANDARD = "standard"
_STANDARD = frozenset({"auto", "default", "standard", "standard_only", "on_demand", "unspecified", "none", "null"})
_LONGEST = 40


def tier_name(said: object) -> str:
    """A vendor's word as ours: `flex`, `priority`, `batch`, ...; empty where nothing is said."""
    if not isinstance(said, str) or not said:
        return ""
    name = said.strip().lower().replace("-", "_")[:_LONGEST]
    for prefix in ("service_tier_", "traffic_type_"):
        name = name.removeprefix(prefix)
    if name in _STANDARD:
        return STANDARD
    return name.removeprefix("on_demand_")


def asked_tier(extra: object) -> str:
    """The tier that a request's further fields ask for; empty where they ask for none."""
    if not isinstance(extra, dict):
        return ""
    for key in ("service_tier", "serviceTier"):
        name = tier_name(extra.get(key))
        if name:
            return name
    return "fast" if extra.get("speed") == "fast" else ""
