"""Reads and validates OpenTelemetry's environment variables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


class Variables:
    """The environment. `warnings` names each variable with an invalid value, but never contains a value.

    Every method takes names from the most specific to the most general one: the first that is set applies. An empty
    variable counts as not set, as the specification requires.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.warnings: list[str] = []

    def text(self, *names: str) -> tuple[str, str]:
        """The name of the variable that applies, and its value; the last name and "" if none is set."""
        for name in names:
            if value := self._environ.get(name, "").strip():
                return name, value
        return names[-1], ""

    def whole(self, default: int, bounds: tuple[int, int], *names: str) -> int:
        """An integer within the bounds; else `default`, with a warning."""
        name, text = self.text(*names)
        if not text:
            return default
        least, most = bounds
        if re.fullmatch(r"[0-9]{1,12}", text) and least <= int(text) <= most:
            return int(text)
        self._warn(name, f"is not an integer from {least} to {most}", str(default))
        return default

    def limit(self, default: int | None, *names: str) -> int | None:
        """An integer of 0 or more; None for `unset`; else `default`, with a warning."""
        name, text = self.text(*names)
        if text.lower() == "unset":
            return None
        if not text:
            return default
        if re.fullmatch(r"[0-9]{1,12}", text):
            return int(text)
        self._warn(name, "is not an integer", "no limit" if default is None else str(default))
        return default

    def share(self, default: float, *names: str) -> float:
        """A number from 0 to 1; else `default`, with a warning."""
        name, text = self.text(*names)
        if not text:
            return default
        if re.fullmatch(r"[0-9]*\.?[0-9]+(?:[eE]-?[0-9]{1,3})?|[0-9]+\.", text) and float(text) <= 1:
            return float(text)
        self._warn(name, "is not a number from 0 to 1", str(default))
        return default

    def choice(self, default: str, choices: Sequence[str], *names: str) -> str:
        """One of `choices`; else `default`, with a warning."""
        name, text = self.text(*names)
        text = text.lower()
        if not text or text in choices:
            return text or default
        self._warn(name, f"is not one of {', '.join(choices)}", default)
        return default

    def flag(self, *names: str) -> bool:
        """`true` or `false`; false if not set; false with a warning for another value."""
        return self.choice("false", ("true", "false"), *names) == "true"

    def pairs(self, *names: str, headers: bool = False) -> dict[str, str]:
        """Pairs `a=b,c=d`, percent-decoded; invalid pairs are ignored, with a warning.

        With `headers`, keys are converted to lower case, and invalid headers are ignored too.
        """
        name, text = self.text(*names)
        found = {}
        for part in text.split(","):
            key, equals, value = (unquote(each.strip()) for each in part.partition("="))
            fits = not headers or (_NAME.fullmatch(key) is not None and _VALUE.fullmatch(value) is not None)
            if equals and key and fits:
                found[key.lower() if headers else key] = value
            elif part.strip():
                self._warn(name, "has a part that is not a percent-encoded name=value", "the other parts")
        return found

    def note(self, name: str, problem: str) -> None:
        """Adds a warning about a variable that can't be applied."""
        self.warnings.append(f"{name} {problem}")

    def _warn(self, name: str, problem: str, used: str) -> None:
        self.note(name, f"{problem}; used instead: {used}")
