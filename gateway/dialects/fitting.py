"""Prepares a request of one dialect for another vendor, independent of the wire format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.dialects.call_ids import fit_ids
from gateway.dialects.choices import only_allowed
from gateway.dialects.names import fit_names

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from gateway.dialects.dropped_params import DroppedParams
    from gateway.dialects.names import NameRule

# Inserted before a conversation that starts with the assistant, for vendors that require a user message first.
FIRST_WORDS = "(The conversation begins.)"
JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it, and no code fence."
JSON_BY_SCHEMA = (
    "Answer with JSON that is valid by the following JSON schema and nothing else: no words before or after it, and no "
    "code fence.\n\n"
)


def fit(
    request: ChatRequest, names: NameRule, ids: NameRule, losses: DroppedParams
) -> tuple[ChatRequest, dict[str, str]]:
    """The request, and a map from the tool names that are sent to the caller's names."""
    request, renamed = fit_names(only_allowed(request), names, losses)
    messages = fit_ids(request.messages, ids)
    return msgspec.structs.replace(request, messages=messages), renamed


def fit_stop(stop: tuple[str, ...], limit: int, losses: DroppedParams, vendor: str) -> list[str]:
    """The stop sequences that the vendor accepts: at most `limit`, none empty."""
    valid = [each for each in stop if each]
    if len(valid) < len(stop):
        losses.add("stop", f"{vendor} accepts no empty stop sequence")
    if len(valid) > limit:
        losses.add("stop", f"{vendor} accepts at most {limit} stop sequences")
    return valid[:limit]
