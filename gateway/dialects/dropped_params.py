"""Request fields that a dialect can't express: refused or dropped by policy, and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.errors import UnsupportedFeature
from contract.held import check_held
from contract.messages import DroppedParam

if TYPE_CHECKING:
    from contract.endpoint import Unsupported


# Fields that do not change the response.
_HARMLESS = {
    "cache_control": "the target caches prompts automatically or not at all",
    "thoughtSignature": "only Google reads it",
}
# The default values of fields: setting a field to its default has no effect, so nothing is dropped.
_DEFAULTS = {
    "responseModalities": ["TEXT"],
    "modalities": ["text"],
    "service_tier": "auto",
    "store": False,
    "logit_bias": {},
    "verbosity": "medium",
}
# Objects whose fields are recorded one by one.
_OBJECTS = frozenset(
    {"generationConfig", "thinkingConfig", "toolConfig", "functionCallingConfig", "output_config", "stream_options"}
)


class DroppedParams:
    """Collects dropped parameters while a request is written."""

    __slots__ = ("_dropped", "_policy")

    def __init__(self, policy: Unsupported) -> None:
        self._policy = policy
        self._dropped: list[DroppedParam] | None = None

    def add(self, field: str, reason: str) -> None:
        """Records a field that would change the response. Raises `UnsupportedFeature` if the policy is to refuse."""
        if self._policy == "refuse":
            raise UnsupportedFeature(f"'{field}' can't be sent to this model: {reason}", param=field)
        self.add_soft(field, reason)

    def add_soft(self, field: str, reason: str) -> None:
        """Records a field that was expressed differently or has no effect. Never refused."""
        if self._dropped is None:
            self._dropped = []
        self._dropped.append(DroppedParam(field, reason))

    def add_extras(self, extra: dict[str, Any], where: str = "") -> None:
        """Records fields that only the request's dialect has. Skips a field that is null or has its default value.

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
                self.add_soft(where + key, "the model decides whether to call a tool; calls are not validated")
            elif key in _HARMLESS:
                self.add_soft(where + key, _HARMLESS[key])
            else:
                self.add(where + key, "the target's dialect does not have this field")

    def all(self) -> tuple[DroppedParam, ...]:
        """The dropped parameters, in order."""
        return tuple(self._dropped) if self._dropped else ()
