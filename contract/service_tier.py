"""Common names for the service tiers of providers (flex, priority, batch, ...), whatever a vendor calls them."""

from __future__ import annotations

STANDARD = "standard"
_STANDARD = frozenset({"auto", "default", "standard", "standard_only", "on_demand", "unspecified", "none", "null"})
_LONGEST = 40


def tier_name(value: object) -> str:
    """The common name of a vendor's tier: `flex`, `priority`, `batch`, ...; empty if not given."""
    if not isinstance(value, str) or not value:
        return ""
    name = value.strip().lower().replace("-", "_")[:_LONGEST]
    for prefix in ("service_tier_", "traffic_type_"):
        name = name.removeprefix(prefix)
    if name in _STANDARD:
        return STANDARD
    return name.removeprefix("on_demand_")


def asked_tier(extra: object) -> str:
    """The tier that the extra fields of a request select; empty if none."""
    if not isinstance(extra, dict):
        return ""
    for key in ("service_tier", "serviceTier"):
        name = tier_name(extra.get(key))
        if name:
            return name
    return "fast" if extra.get("speed") == "fast" else ""
