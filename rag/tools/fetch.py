"""Sends one request to a configured host: no redirects, no private addresses, a bounded body."""

from __future__ import annotations

from contract.egress import ProxyRefused
from contract.outbound import Call, Outbound
from contract.packing import CorruptBody, ExpansionTooLarge, UnknownCoding


class FetchFailed(Exception):
    """The fetch failed; the message may be sent to the model."""


async def fetch(outbound: Outbound, call: Call, max_bytes: int, turn: str = "") -> tuple[str, str]:
    """Returns media type and text of a response with status 200. `turn`: see `Outbound.open`. Raises `FetchFailed`."""
    try:
        async with outbound.open(call, turn) as answer:
            if answer.status != 200:
                moved = 300 <= answer.status < 400
                raise FetchFailed(
                    f"it responded with status {answer.status}{'; redirects are not followed' if moved else ''}"
                )
            data = await answer.read(max_bytes)
            return answer.media_type, data.decode("utf-8", "replace")
    except ExpansionTooLarge:
        raise FetchFailed(f"the response is larger than {max_bytes} bytes") from None
    except (CorruptBody, UnknownCoding) as error:
        raise FetchFailed(f"the response can't be decompressed: {error}") from None
    except TimeoutError:
        raise FetchFailed(f"it took longer than {call.timeout_s:g} s") from None
    except ProxyRefused as error:
        raise FetchFailed(f"it can't be reached: {error}") from None
    except OSError as error:
        raise FetchFailed(f"it can't be used: {error}") from None
