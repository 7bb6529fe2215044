"""Reads OpenTelemetry's environment variables, each with its own rule for what is valid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")


class Variables:
    """The environment. `warnings` names each variable whose value can't be used; no value is ever in it.

    Every method takes names from the most special one to the most general one: the first that is set counts. An empty
    variable is the same as one that is not set, as the specification asks.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.warnings: list[str] = []

    def text(self, *names: str) -> tuple[str, str]:
        """The name of the variable that counts, and its value; the last name and "" when none is set."""
        for name in names:
            if value := self._environ.get(name, "").strip():
                return name, value
        return names[-1], ""

    def whole(self, default: int, bounds: tuple[int, int], *names: str) -> int:
        """A whole number from the first to the second bound; else `default`, with a warning."""
        name, text = self.text(*names)
        if not text:
            return default
        least, most = bounds
        if re.fullmatch(r"[0-9]{1,12}", text) and least <= int(text) <= most:
            return int(text)
        self._warn(name, f"is no whole number from {least} to {most}", str(default))
        return default

    def limit(self, default: int | None, *names: str) -> int | None:
        """A number of 0 or more, or `unset` for none."""
        name, text = self.text(*names)
        if text.lower() == "unset":
            return None
        if not text:
            return default
        if re.fullmatch(r"[0-9]{1,12}", text):
            return int(text)
        self._warn(name, "is no whole number", "no limit" if default is None else str(default))
        return default

    def share(self, default: float, *names: str) -> float:
        """A number from 0 to 1; else `default`, with a warning."""
        name, text = self.text(*names)
        if not text:
            return default
        if re.fullmatch(r"[0-9]*\.?[0-9]+(?:[eE]-?[0-9]{1,3})?|[0-9]+\.", text) and float(text) <= 1:
            return float(text)
        self._warn(name, "is no number from 0 to 1", str(default))
        return default

    def choice(self, default: str, choices: Sequence[str], *names: str) -> str:
        """One of `choices`; else `default`, with a warning."""
        name, text = self.text(*names)
        text = text.lower()
        if not text or text in choices:
            return text or default
        self._warn(name, f"is none of {', '.join(choices)}", default)
        return default

    def flag(self, *names: str) -> bool:
        """`true` or `false`; false where none is set, and with a warning where it is something else."""
        return self.choice("false", ("true", "false"), *names) == "true"

    def pairs(self, *names: str, headers: bool = False) -> dict[str, str]:
        """`a=b,c=d`, percent-decoded; what is no such pair is left out, with a warning.

        With `headers`, keys come in lower case, and what can't be sent as a header is left out too.
        """
        name, text = self.text(*names)
        found = {}
        for part in text.split(","):
            key, equals, value = (unquote(each.strip()) for each in part.partition("="))
            fits = not headers or (_NAME.fullmatch(key) is not None and _VALUE.fullmatch(value) is not None)
            if equals and key and fits:
                found[key.lower() if headers else key] = value
            elif part.strip():
                self._warn(name, "has a part that is no name=value, percent-encoded", "the other parts")
        return found

    def note(self, name: str, problem: str) -> None:
        """A warning about a variable that is set and can't be honoured."""
        self.warnings.append(f"{name} {problem}")

    def _warn(self, name: str, problem: str, used: str) -> None:
        self.note(name, f"{problem}; used instead: {used}")
