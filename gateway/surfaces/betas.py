"""`anthropic-beta`: what of Anthropic's API that is not open to everybody a caller asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable

from contract.errors import InvalidRequest

HEADER = b"anthropic-beta"
MOST = 50
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")


def read_betas(values: Iterable[bytes]) -> tuple[str, ...]:
    """The names in all headers of this name, each once, sorted: their order says nothing. Raises `InvalidRequest`."""
    names = {name.strip() for value in values for name in value.split(b",")} - {b""}
    if len(names) > MOST:
        raise InvalidRequest(
            f"'anthropic-beta' holds {len(names)} names, and at most {MOST} are taken", param="anthropic-beta"
        )
    for name in names:
        if not _NAME.match(name):
            raise InvalidRequest(
                "'anthropic-beta' holds names of letters, digits and .-_: with commas between them",
                param="anthropic-beta",
            )
    return tuple(sorted([name.decode("ascii") for name in names]))
