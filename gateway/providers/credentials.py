"""A provider's keys: rotation and cooldown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from contract.errors import CredentialRefused, RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.errors import UpstreamError

REJECTED_KEY_COOLDOWN_S = 300.0
RATE_LIMITED_COOLDOWN_S = 1.0
MAX_COOLDOWN_S = 120.0


class Key:
    """One key. `number` counts from 1 and identifies the key in logs."""

    __slots__ = ("available_at", "number", "secret")

    def __init__(self, number: int, secret: str) -> None:
        self.number = number
        self.secret = secret
        self.available_at = 0.0


class Credentials:
    """Keys in rotation.

    A 429 cools a key down for as long as the provider asks. A rejected key or account is cooled down for five minutes.
    A rejection that would apply to any key cools down none.

    If all keys cool down, the one that becomes available first is used, so that a recovered provider is noticed.
    """

    def __init__(self, secrets: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        """`secrets` is empty for a provider that needs no key."""
        self._keys = [Key(index + 1, secret) for index, secret in enumerate(secrets or ("",))]
        self._next = 0
        self._clock = clock

    @property
    def secrets(self) -> tuple[str, ...]:
        """All keys, to be removed from errors."""
        return tuple(key.secret for key in self._keys)

    def key(self, number: int) -> Key:
        """The key with this number."""
        return self._keys[number - 1]

    def pick(self) -> Key:
        """The next key in turn that is not cooling down."""
        keys = self._keys
        if len(keys) == 1:
            return keys[0]
        now = self._clock()
        for _ in keys:
            key = keys[self._next]
            self._next = (self._next + 1) % len(keys)
            if key.available_at <= now:
                return key
        return min(keys, key=lambda key: key.available_at)

    def record_error(self, key: Key, error: UpstreamError) -> None:
        """Cools `key` down as `error` requires, and marks the error if another key can be tried immediately."""
        if isinstance(error, CredentialRefused) and error.key_at_fault:
            cooldown = REJECTED_KEY_COOLDOWN_S
        elif isinstance(error, RateLimited):
            cooldown = min(error.retry_after_s or RATE_LIMITED_COOLDOWN_S, MAX_COOLDOWN_S)
        else:
            return
        now = self._clock()
        key.available_at = now + cooldown
        error.another_key = any(other.available_at <= now for other in self._keys)
