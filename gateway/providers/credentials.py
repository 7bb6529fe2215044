"""A provider's keys: which to use next, and which to leave alone for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from contract.errors import CredentialRefused, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.errors import UpstreamError

RETIRED_S = 300.0
RATE_LIMITED_S = 1.0
LONGEST_REST_S = 120.0


class Key:
    """One key; `number` counts from 1 and is what may be shown."""

    __slots__ = ("number", "rests_until", "secret")

    def __init__(self, number: int, secret: str) -> None:
        self.number = number
        self.secret = secret
        self.rests_until = 0.0


class Credentials:
    """Keys in rotation. A 429 rests a key for as long as the provider says, a refusal of the key or of its account
    retires it for five minutes; a refusal that any key would hear rests none.

    When every key rests, the one whose rest ends first is used: a provider that has changed its mind is noticed.
    """

    def __init__(self, secrets: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        """No secrets at all means a provider that wants none."""
        self._keys = [Key(index + 1, secret) for index, secret in enumerate(secrets or ("",))]
        self._next = 0
        self._clock = clock

    @property
    def secrets(self) -> tuple[str, ...]:
        """All of them, to be kept out of what is told to callers."""
        return tuple(key.secret for key in self._keys)

    def key(self, number: int) -> Key:
        """The key of this number."""
        return self._keys[number - 1]

    def pick(self) -> Key:
        """The next key in turn that does not rest."""
        keys = self._keys
        if len(keys) == 1:
            return keys[0]
        now = self._clock()
        for _ in keys:
            key = keys[self._next]
            self._next = (self._next + 1) % len(keys)
            if key.rests_until <= now:
                return key
        return min(keys, key=lambda key: key.rests_until)

    def note(self, key: Key, error: UpstreamError) -> None:
        """Rests `key` as `error` asks, and marks the error when another key can be tried at once."""
        if isinstance(error, CredentialRefused) and error.key_at_fault:
            rest = RETIRED_S
        elif isinstance(error, RateLimited):
            rest = min(error.retry_after_s or RATE_LIMITED_S, LONGEST_REST_S)
        else:
            return
        now = self._clock()
        key.rests_until = now + rest
        error.another_key = any(other.rests_until <= now for other in self._keys)
