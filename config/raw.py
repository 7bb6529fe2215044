"""Types for options that depend on the complete file: conflicts with other options, and warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from config.document import Path

Remark: TypeAlias = tuple[Path, str, str]
"""A warning about valid options: their path in the component, the message, and the cure."""


@dataclass(frozen=True)
class OptionConflict:
    """Options that are valid alone, but not together with others: the path, the message, and the cure.

    `path` starts at the top of the file. The error points at the value there, or at its key.
    """

    path: Path
    message: str
    cure: str
    at_key: bool = False


class RawConfig:
    """The complete file as written, valid or not, for checks that read other sections."""

    def __init__(self, data: Mapping[str, Any], structs: Mapping[Path, Any]) -> None:
        """`structs` has the config class for each path."""
        self.data = data
        self._structs = structs

    def section(self, name: str) -> Mapping[str, Any]:
        """The entries of a section; empty if the file does not have it."""
        return mapping(self.data.get(name))

    def struct(self, *path: str | int) -> type[object] | None:
        """The class that reads the options at a path, such as a component's config; None if there is none."""
        found = self._structs.get(path)
        return found if isinstance(found, type) else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty mapping."""
    return value if isinstance(value, Mapping) else {}
