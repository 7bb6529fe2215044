"""What a dialect could not say of a request: refused or dropped by policy, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.errors import UnsupportedFeature
from contract.held import check_held
from contract.messages import DroppedParam

if TYPE_CHECKING:
    from contract.endpoint import Unsupported


# What does not change the answer.
_HARMLESS = {
    "cache_control": "the target keeps prompts by itself, or not at all",
    "thoughtSignature": "only Google reads it",
}
# Fields at the value that they have when nobody names them, and that asks for what every target does anyway.
_DEFAULTS = {
    "responseModalities": ["TEXT"],
    "modalities": ["text"],
    "service_tier": "auto",
    "store": False,
    "logit_bias": {},
    "verbosity": "medium",
}
# Objects whose fields are asked for one by one.
_OBJECTS = frozenset(
    {"generationConfig", "thinkingConfig", "toolConfig", "functionCallingConfig", "output_config", "stream_options"}
)


class DroppedParams:
    """Collects losses while one request is written."""

    __slots__ = ("_found", "_policy")

    def __init__(self, policy: Unsupported) -> None:
        self._policy = policy
        self._found: list[DroppedParam] | None = None

    def add(self, field: str, reason: str) -> None:
        """Something that would change the answer. Raises `UnsupportedFeature` when the policy is to refuse."""
        if self._policy == "refuse":
            raise UnsupportedFeature(f"'{field}' can't be sent to this model: {reason}", param=field)
        self.add_soft(field, reason)

    def add_soft(self, field: str, reason: str) -> None:
        """Something said in other words: recorded, never refused."""
        if self._found is None:
            self._found = []
        self._found.append(DroppedParam(field, reason))

    def add_extras(self, extra: dict[str, Any], where: str = "") -> None:
        """Fields that only the dialect of the request knows. One that is null, or at its default, asks for nothing.

        Raises `HeldByOtherProvider` for a top-level field (`where` is empty) that refers to state held by a provider.
        """
        for key, value in extra.items():
            if value is None or (key in _DEFAULTS and _DEFAULTS[key] == value):
                continue
            if not where:
                check_held(key)
            if key in _OBJECTS and isinstance(value, dict):
                self.add_extras(value, f"{where}{key}.")
            elif key == "mode" and value == "VALIDATED":
                self.add_soft(where + key, "the model chooses, and its calls are not validated")
            elif key in _HARMLESS:
                self.add_soft(where + key, _HARMLESS[key])
            else:
                self.add(where + key, "unknown to the target's dialect")

    def all(self) -> tuple[DroppedParam, ...]:
        """What was found, in order."""
        return tuple(self._found) if self._found else ()
