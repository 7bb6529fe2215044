"""The list of prices that ships (genai-prices), asked of no network: what it knows of a vendor's model."""

from __future__ import annotations

from typing import Any

from config.findings import nearest


def listed(model: str, vendor: str = "", url: str = "") -> Any:
    """What the list says of a model, by its vendor's id in the list or by its server's address; None for nothing.

    The first call takes a third of a second, for the list is loaded then.
    """
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, vendor or None, url or None)[1]
    except LookupError:
        return None


def missing(name: str) -> tuple[str, str] | None:
    """Why `vendor/model` is no entry of the list, and the cure; None where it is one."""
    from genai_prices.data_snapshot import get_snapshot

    vendor, _, model = name.partition("/")
    vendors = {each.id: each for each in get_snapshot().providers}
    found = vendors.get(vendor)
    if found is None:
        close = nearest(vendor, vendors)
        cure = f"did you mean {close}/{model}?" if close else "write vendor/model, such as openai/gpt-5.5"
        return "the price list that ships knows no vendor of this name", cure
    if listed(model, vendor) is not None:
        return None
    close = nearest(model, [each.id for each in found.models])
    cure = f"did you mean {vendor}/{close}?" if close else "give its price: {input: 2.50, output: 10.00}"
    return "the price list that ships knows no such model", cure


def like(model: str, vendor: str) -> str:
    """The listed model of a vendor whose name is nearest; empty for none."""
    from genai_prices.data_snapshot import get_snapshot

    found = next((each for each in get_snapshot().providers if each.id == vendor), None)
    return nearest(model, [each.id for each in found.models]) if found is not None else ""
