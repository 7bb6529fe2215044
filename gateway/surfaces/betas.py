"""`anthropic-beta`: the beta features of Anthropic's API that a caller requests."""

from __future__ import annotations

import re
from collections.abc import Iterable

from contract.errors import InvalidRequest

HEADER = b"anthropic-beta"
MAX_BETAS = 50
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")


def read_betas(values: Iterable[bytes]) -> tuple[str, ...]:
    """The distinct names in all headers of this name, sorted, as order has no meaning. Raises `InvalidRequest`."""
    names = {name.strip() for value in values for name in value.split(b",")} - {b""}
    if len(names) > MAX_BETAS:
        raise InvalidRequest(
            f"'anthropic-beta' contains {len(names)} names; at most {MAX_BETAS} are accepted", param="anthropic-beta"
        )
    for name in names:
        if not _NAME.match(name):
            raise InvalidRequest(
                "'anthropic-beta' must be a comma-separated list of names made of letters, digits and .-_:",
                param="anthropic-beta",
            )
    return tuple(sorted([name.decode("ascii") for name in names]))
