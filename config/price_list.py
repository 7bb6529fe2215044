"""Look-ups in the bundled price list (genai-prices). They need no network."""

from __future__ import annotations

from typing import Any

from config.findings import nearest


def listed_model(model: str, vendor: str = "", url: str = "") -> Any:
    """The list's entry of a model, found by the vendor's ID in the list or by the server's address; None if missing.

    The first call loads the list, which takes a third of a second.
    """
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, vendor or None, url or None)[1]
    except LookupError:
        return None


def missing(name: str) -> tuple[str, str] | None:
    """Why the list has no entry `vendor/model`, and the cure; None if it has one."""
    from genai_prices.data_snapshot import get_snapshot

    vendor, _, model = name.partition("/")
    vendors = {each.id: each for each in get_snapshot().providers}
    found = vendors.get(vendor)
    if found is None:
        close = nearest(vendor, vendors)
        cure = f"did you mean {close}/{model}?" if close else "write vendor/model, such as openai/gpt-5.5"
        return "the bundled price list has no vendor of this name", cure
    if listed_model(model, vendor) is not None:
        return None
    close = nearest(model, [each.id for each in found.models])
    cure = f"did you mean {vendor}/{close}?" if close else "give its price: {input: 2.50, output: 10.00}"
    return "the bundled price list has no such model", cure


def nearest_model(model: str, vendor: str) -> str:
    """The vendor's listed model with the most similar name; empty if none is close."""
    from genai_prices.data_snapshot import get_snapshot

    found = next((each for each in get_snapshot().providers if each.id == vendor), None)
    return nearest(model, [each.id for each in found.models]) if found is not None else ""
