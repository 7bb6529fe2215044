"""What options say of a whole file: which extras they need, and what they don't go together with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from config.document import Path

Remark: TypeAlias = tuple[Path, str, str]
"""Options that are right and may not be meant: their place in the component, what is odd, and what to do."""


@dataclass(frozen=True)
class OptionConflict:
    """Options that are right by themselves and wrong beside others: where, what is wrong, and what to do.

    `path` starts at the top of the file. The error points at the value there, or at its key.
    """

    path: Path
    message: str
    cure: str
    at_key: bool = False


class RawConfig:
    """The whole file as it was written, right or wrong, for options that look at other sections."""

    def __init__(self, data: Mapping[str, Any], structs: Mapping[Path, Any]) -> None:
        """`structs`: what reads the options at each place."""
        self.data = data
        self._structs = structs

    def section(self, name: str) -> Mapping[str, Any]:
        """The entries of a section; none where the file has no such section."""
        return mapping(self.data.get(name))

    def struct(self, *path: str | int) -> type[object] | None:
        """What reads the options at a place, such as a component's config; None where nothing does."""
        found = self._structs.get(path)
        return found if isinstance(found, type) else None


def mapping(value: object) -> Mapping[str, Any]:
    """A value as a mapping; empty where it is something else."""
    return value if isinstance(value, Mapping) else {}
