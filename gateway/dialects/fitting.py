"""A request of one dialect made ready for another vendor, before its parts are written: all that has no wire format."""

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

# Put before a conversation that the assistant begins, for vendors who want the user to begin.
FIRST_WORDS = "(The conversation begins.)"
JSON_ONLY = "Answer with one JSON object and nothing else: no words before or after it, and no code fence."
JSON_BY_SCHEMA = (
    "Answer with JSON that is valid by the following JSON schema and nothing else: no words before or after it, and no "
    "code fence.\n\n"
)


def fit(
    request: ChatRequest, names: NameRule, ids: NameRule, losses: DroppedParams
) -> tuple[ChatRequest, dict[str, str]]:
    """The request, and the caller's names of tools by those that are sent in their place."""
    request, renamed = fit_names(only_allowed(request), names, losses)
    messages = fit_ids(request.messages, ids)
    return msgspec.structs.replace(request, messages=messages), renamed


def fit_stop(stop: tuple[str, ...], most: int, losses: DroppedParams, vendor: str) -> list[str]:
    """The first stop sequences that the vendor takes; none that is empty."""
    fits = [each for each in stop if each]
    if len(fits) < len(stop):
        losses.add("stop", f"{vendor} takes no empty stop sequence")
    if len(fits) > most:
        losses.add("stop", f"{vendor} takes at most {most} stop sequences")
    return fits[:most]
