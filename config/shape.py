"""Maps each place of a file to the field of its struct, for errors, references and masking."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from config.document import Path
from config.kinds import ComponentField, Kinds, seam_of
from config.secret import Secret
from config.struct import Component, Struct, one_or_several


@dataclass(frozen=True)
class ConfigNode:
    """A place of the file that a struct defines: its type, its markers, and the value in the file."""

    path: Path
    annotation: Any
    markers: tuple[Any, ...]
    value: Any


def fields(struct: type[Struct]) -> dict[str, FieldInfo]:
    """A struct's fields by their YAML keys."""
    return {info.alias or name: info for name, info in struct.model_fields.items()}


def unwrap(annotation: Any, markers: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """The type without `Annotated` and `| None`, and its markers."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return unwrap(inner, (*markers, *more))
    if get_origin(annotation) in (Union, types.UnionType):
        present = [each for each in get_args(annotation) if each is not type(None)]
        if len(present) == 1:
            return unwrap(present[0], markers)
    return annotation, markers


def choices(annotation: Any, kinds: Kinds) -> dict[str, type[Struct]]:
    """The structs that a component's field may hold, by kind. Empty for any other type."""
    _, markers = unwrap(annotation)
    seam = seam_of(markers)
    return dict(kinds.structs(seam.seam, plugins=True)) if seam is not None else {}


def walk(
    annotation: Any, value: Any, kinds: Kinds, path: Path = (), markers: tuple[Any, ...] = ()
) -> Iterator[ConfigNode]:
    """Yields every place under `value` that the type defines, outermost first."""
    annotation, markers = unwrap(annotation, markers)
    seam = seam_of(markers)
    if seam is not None and isinstance(value, Mapping):
        chosen = _chosen(seam, value, kinds)
        if chosen is None:
            # The kind is unknown, so it is unknown which of its keys hold secrets.
            yield ConfigNode(path, annotation, markers, value)
            return
        annotation = chosen
    yield ConfigNode(path, annotation, markers, value)
    origin = get_origin(annotation)
    if origin is dict and isinstance(value, Mapping):
        for key, each in value.items():
            yield from walk(get_args(annotation)[1], each, kinds, (*path, key))
    elif origin is tuple and isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from walk(get_args(annotation)[0], each, kinds, (*path, index))
    elif origin is tuple and any(getattr(each, "func", None) is one_or_several for each in markers):
        yield from walk(get_args(annotation)[0], value, kinds, path)
    elif isinstance(annotation, type) and issubclass(annotation, Struct):
        yield from _walk_struct(annotation, value, kinds, path)


def _chosen(seam: ComponentField, value: Mapping[str, Any], kinds: Kinds) -> type[Struct] | None:
    try:
        return kinds.struct(seam.seam, seam.kind_of(value))
    except ValueError:
        return None  # a broken plug-in: validation reports it


def _walk_struct(struct: type[Struct], value: object, kinds: Kinds, path: Path) -> Iterator[ConfigNode]:
    known = fields(struct)
    if isinstance(value, Mapping):
        for key, info in known.items():
            if key in value:
                yield from walk(info.annotation, value[key], kinds, (*path, key), tuple(info.metadata))
    elif struct.shorthand and isinstance(value, str):
        info = known[struct.shorthand]
        yield from walk(info.annotation, value, kinds, path, tuple(info.metadata))


def structs(annotation: Any, kinds: Kinds, markers: tuple[Any, ...] = ()) -> Iterator[type[Struct]]:
    """Yields every struct that a type contains, outer structs first; some may come twice."""
    annotation, markers = unwrap(annotation, markers)
    seam = seam_of(markers)
    if seam is not None:
        for struct in kinds.structs(seam.seam).values():
            yield from structs(struct, kinds)
    elif isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
        for info in annotation.model_fields.values():
            yield from structs(info.annotation, kinds, tuple(info.metadata))
    else:
        for inner in get_args(annotation):
            yield from structs(inner, kinds)


def is_section(annotation: Any) -> bool:
    """Whether a value of this type is a mapping that a struct reads."""
    bare, markers = unwrap(annotation)
    return seam_of(markers) is not None or (isinstance(bare, type) and issubclass(bare, Struct))


def plain_keys(root: type[Struct], kinds: Kinds) -> frozenset[str]:
    """The keys under which no struct holds secrets."""
    secret: set[str] = set()
    plain: set[str] = set()
    for struct in structs(root, kinds):
        for key, info in fields(struct).items():
            (secret if holds_secret(info.annotation) else plain).add(key)
    return frozenset(plain - secret)


def holds_secret(annotation: Any) -> bool:
    """Whether a value of this type is or contains a secret: then text in a wrong place may be one too."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        # A component of unknown kind: some kinds have secrets.
        return is_open(annotation) or any(holds_secret(info.annotation) for info in annotation.model_fields.values())
    return annotation is Secret or any(holds_secret(inner) for inner in get_args(annotation))


def is_open(struct: type[Struct]) -> bool:
    """Whether this is a base class of components, without a known kind."""
    return issubclass(struct, Component) and get_origin(struct.model_fields["kind"].annotation) is not Literal


def write_path(path: Path) -> str:
    """The path as text, such as `models.quick.targets[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part and not any(c in part for c in '." []')
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text
