"""What a dialect could not say of a request: refused or dropped by policy, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.contract.errors import UnsupportedFeature
from gateway.contract.messages import Loss

if TYPE_CHECKING:
    from gateway.contract.protocols import Unsupported


# What does not change the answer.
_HARMLESS = {
    "cache_control": "the target keeps prompts by itself, or not at all",
    "thoughtSignature": "only Google reads it",
}


class Losses:
    """Collects losses while one request is written."""

    __slots__ = ("_found", "_policy")

    def __init__(self, policy: Unsupported) -> None:
        self._policy = policy
        self._found: list[Loss] | None = None

    def add(self, field: str, reason: str) -> None:
        """Something that would change the answer. Raises `UnsupportedFeature` when the policy is to refuse."""
        if self._policy == "refuse":
            raise UnsupportedFeature(f"'{field}' can't be sent to this model: {reason}", param=field)
        self.add_soft(field, reason)

    def add_soft(self, field: str, reason: str) -> None:
        """Something said in other words: recorded, never refused."""
        if self._found is None:
            self._found = []
        self._found.append(Loss(field, reason))

    def add_extras(self, extra: dict[str, Any], where: str = "") -> None:
        """Fields that only the dialect of the request knows."""
        for key in extra:
            if key in _HARMLESS:
                self.add_soft(where + key, _HARMLESS[key])
            else:
                self.add(where + key, "unknown to the target's dialect")

    def all(self) -> tuple[Loss, ...]:
        """What was found, in order."""
        return tuple(self._found) if self._found else ()
