"""Old names of keys and steps: they still work, and each use gives a warning with the new name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from config.document import Fault, Path, TextRange, YamlDocument
from config.kinds import Kinds
from config.raw import Remark
from config.shape import walk
from config.struct import Struct

_DEPRECATION = "version 1.0 will refuse old names"
Placed = TypeVar("Placed")


@dataclass(frozen=True)
class Renamed:
    """One use of an old name. `path` has the new name; `line` counts from 1."""

    path: Path
    line: int
    old: str
    new: str

    @property
    def remark(self) -> Remark:
        """The warning of `gatehouse check`."""
        return self.path, f"`{self.old}` was renamed to `{self.new}`", f"write {self.new}; {_DEPRECATION}"


def apply_renames(document: YamlDocument, root: type[Struct], kinds: Kinds) -> list[Renamed]:
    """Replaces all old names in the document by their new names, so that only this module handles old names.

    A key that is given under both names is a fault of the document.
    """
    uses: list[Renamed] = []
    # `walk` yields a mapping before it reads its children: by then they have their new names.
    for node in walk(root, document.data, kinds):
        struct = node.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(node.value, dict):
            uses += _rename_keys(struct, node.value, node.path, document)
            uses += _rename_values(struct, node.value, node.path, document)
    return uses


def _rename_keys(struct: type[Struct], mapping: dict[str, Any], at: Path, document: YamlDocument) -> Iterator[Renamed]:
    for old, new in struct.renamed.items():
        if old not in mapping:
            continue
        span = document.keys[(*at, old)]
        if new in mapping:
            message = f"`{old}` is the old name of `{new}`, and both are given"
            document.faults.append(Fault((*at, old), span, message, f"keep {new}"))
            del mapping[old]
            continue
        entries = [(new if key == old else key, value) for key, value in mapping.items()]
        mapping.clear()
        mapping.update(entries)
        _move(document, (*at, old), (*at, new))
        yield Renamed((*at, new), span.line + 1, old, new)


def _rename_values(
    struct: type[Struct], mapping: dict[str, Any], at: Path, document: YamlDocument
) -> Iterator[Renamed]:
    for key, (pattern, replacement) in struct.renamed_values.items():
        value = mapping.get(key)
        entries = value if isinstance(value, tuple) else (value,)
        new = tuple(re.sub(pattern, replacement, each) if isinstance(each, str) else each for each in entries)
        for index, (before, after) in enumerate(zip(entries, new, strict=True)):
            if before != after:
                place = (*at, key, index) if isinstance(value, tuple) else (*at, key)
                yield Renamed(place, document.values[place].line + 1, str(before), str(after))
        if new != entries:
            mapping[key] = new if isinstance(value, tuple) else new[0]


def _move(document: YamlDocument, old: Path, new: Path) -> None:
    def moved(path: Path) -> Path:
        return (*new, *path[len(old) :]) if path[: len(old)] == old else path

    def all_moved(places: list[tuple[Path, TextRange]]) -> list[tuple[Path, TextRange]]:
        return [(moved(path), span) for path, span in places]

    document.keys = _rekeyed(document.keys, moved)
    document.values = _rekeyed(document.values, moved)
    document.scalars, document.names = all_moved(document.scalars), all_moved(document.names)
    document.unresolved = {moved(path) for path in document.unresolved}
    document.faults = [Fault(moved(each.path), each.span, each.message, each.cure) for each in document.faults]


def _rekeyed(places: dict[Path, Placed], moved: Callable[[Path], Path]) -> dict[Path, Placed]:
    return {moved(path): each for path, each in places.items()}
