"""Old names of keys and steps: they still work, and each use gives a warning with the new name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.document import Fault, Path, YamlDocument
from config.kinds import Kinds
from config.raw import Remark
from config.shape import walk
from config.struct import Struct

_DEPRECATION = "version 1.0 will refuse old names"


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

    A key that is given under both names is a fault of the document. Takes time in proportion to the document, however
    many old names it has.
    """
    names = _Names(document)
    uses: list[Renamed] = []
    # `walk` yields a mapping before it reads its children: by then they have their new names.
    for node in walk(root, document.data, kinds):
        struct = node.annotation
        if isinstance(struct, type) and issubclass(struct, Struct) and isinstance(node.value, dict):
            uses += _rename_keys(struct, node.value, node.path, names)
            uses += _rename_values(struct, node.value, node.path, names)
    if uses:
        names.move_places()
    return uses


class _Names:
    """The keys that were renamed. The places of the document keep their old paths until all renames are known."""

    def __init__(self, document: YamlDocument) -> None:
        self.document = document
        self._new: dict[Path, str] = {}  # by the path of the mapping, with new names, and the old key
        self._old: dict[Path, str] = {}  # by the path with new names

    def rename(self, at: Path, old: str, new: str) -> None:
        self._new[(*at, old)] = new
        self._old[(*at, new)] = old

    def as_written(self, path: Path) -> Path:
        """The path as the file has it."""
        return tuple(self._old.get(path[: index + 1], part) for index, part in enumerate(path))

    def move_places(self) -> None:
        """Gives all paths of the document their new names."""
        document = self.document
        document.keys = {self._moved(path): span for path, span in document.keys.items()}
        document.values = {self._moved(path): span for path, span in document.values.items()}
        document.scalars = [(self._moved(path), span) for path, span in document.scalars]
        document.names = [(self._moved(path), span) for path, span in document.names]
        document.unresolved = {self._moved(path) for path in document.unresolved}
        document.faults = [
            Fault(self._moved(each.path), each.span, each.message, each.cure) for each in document.faults
        ]

    def _moved(self, path: Path) -> Path:
        moved: Path = ()
        for part in path:
            moved = (*moved, self._new.get((*moved, part), part))
        return moved


def _rename_keys(struct: type[Struct], mapping: dict[str, Any], at: Path, names: _Names) -> Iterator[Renamed]:
    for old, new in struct.renamed.items():
        if old not in mapping:
            continue
        span = names.document.keys[names.as_written((*at, old))]
        if new in mapping:
            message = f"`{old}` is the old name of `{new}`, and both are given"
            names.document.faults.append(Fault((*at, old), span, message, f"keep {new}"))
            del mapping[old]
            continue
        entries = [(new if key == old else key, value) for key, value in mapping.items()]
        mapping.clear()
        mapping.update(entries)
        names.rename(at, old, new)
        yield Renamed((*at, new), span.line + 1, old, new)


def _rename_values(struct: type[Struct], mapping: dict[str, Any], at: Path, names: _Names) -> Iterator[Renamed]:
    for key, (pattern, replacement) in struct.renamed_values.items():
        value = mapping.get(key)
        entries = value if isinstance(value, tuple) else (value,)
        new = tuple(re.sub(pattern, replacement, each) if isinstance(each, str) else each for each in entries)
        for index, (before, after) in enumerate(zip(entries, new, strict=True)):
            if before != after:
                place = (*at, key, index) if isinstance(value, tuple) else (*at, key)
                line = names.document.values[names.as_written(place)].line + 1
                yield Renamed(place, line, str(before), str(after))
        if new != entries:
            mapping[key] = new if isinstance(value, tuple) else new[0]
