"""Which struct's field stands behind each place of a file: what errors, references and masking look things up in."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from config.document import Path
from config.secret import Secret
from config.struct import Struct, one_or_several


@dataclass(frozen=True)
class Spot:
    """A place that the structs know: the type there, its markers, and the value that the file gives."""

    path: Path
    annotation: Any
    markers: tuple[Any, ...]
    value: Any


def fields(struct: type[Struct]) -> dict[str, FieldInfo]:
    """A struct's fields by the names that stand in the YAML."""
    return {info.alias or name: info for name, info in struct.model_fields.items()}


def unwrap(annotation: Any, markers: tuple[Any, ...] = ()) -> tuple[Any, tuple[Any, ...]]:
    """The type without `Annotated` and `| None`, and the markers that stood on it."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return unwrap(inner, (*markers, *more))
    if get_origin(annotation) in (Union, types.UnionType):
        present = [each for each in get_args(annotation) if each is not type(None)]
        if len(present) == 1:
            return unwrap(present[0], markers)
    return annotation, markers


def kinds(annotation: Any) -> dict[str, type[Struct]]:
    """The structs of a union over `kind`, by kind; a lone struct with a `kind` too. Empty for any other type."""
    annotation, _ = unwrap(annotation)
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    found: dict[str, type[Struct]] = {}
    for member in members:
        if isinstance(member, type) and issubclass(member, Struct) and "kind" in member.model_fields:
            kind = member.model_fields["kind"].annotation
            if get_origin(kind) is Literal:
                found |= dict.fromkeys(get_args(kind), member)
    return found


def walk(annotation: Any, value: Any, path: Path = (), markers: tuple[Any, ...] = ()) -> Iterator[Spot]:
    """Every place under `value` that the type knows, outermost first."""
    annotation, markers = unwrap(annotation, markers)
    choices = kinds(annotation)
    if choices and isinstance(value, Mapping):
        kind = value.get("kind")
        chosen = choices.get(kind) if isinstance(kind, str) else None
        annotation = chosen or annotation
    yield Spot(path, annotation, markers, value)
    origin = get_origin(annotation)
    if origin is dict and isinstance(value, Mapping):
        for key, each in value.items():
            yield from walk(get_args(annotation)[1], each, (*path, key))
    elif origin is tuple and isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from walk(get_args(annotation)[0], each, (*path, index))
    elif origin is tuple and any(getattr(each, "func", None) is one_or_several for each in markers):
        yield from walk(get_args(annotation)[0], value, path)
    elif isinstance(annotation, type) and issubclass(annotation, Struct):
        yield from _walk_struct(annotation, value, path)


def _walk_struct(struct: type[Struct], value: object, path: Path) -> Iterator[Spot]:
    known = fields(struct)
    if isinstance(value, Mapping):
        for key, info in known.items():
            if key in value:
                yield from walk(info.annotation, value[key], (*path, key), tuple(info.metadata))
    elif struct.shorthand and isinstance(value, str):
        info = known[struct.shorthand]
        yield from walk(info.annotation, value, path, tuple(info.metadata))


def structs(annotation: Any) -> Iterator[type[Struct]]:
    """Every struct that a type leads to, each before those within it; some may come twice."""
    annotation, _ = unwrap(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        yield annotation
        for info in annotation.model_fields.values():
            yield from structs(info.annotation)
    else:
        for inner in get_args(annotation):
            yield from structs(inner)


def is_section(annotation: Any) -> bool:
    """Whether a value of this type is a mapping of keys that a struct has."""
    bare, _ = unwrap(annotation)
    return bool(kinds(annotation)) or (isinstance(bare, type) and issubclass(bare, Struct))


def plain_keys(root: type[Struct]) -> frozenset[str]:
    """The keys under which no struct holds secrets."""
    secret: set[str] = set()
    plain: set[str] = set()
    for struct in structs(root):
        for key, info in fields(struct).items():
            (secret if holds_secret(info.annotation) else plain).add(key)
    return frozenset(plain - secret)


def holds_secret(annotation: Any) -> bool:
    """Whether a value of this type is a secret or has one in it: text that stands there by mistake may be one."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return any(holds_secret(info.annotation) for info in annotation.model_fields.values())
    return annotation is Secret or any(holds_secret(inner) for inner in get_args(annotation))


def write_path(path: Path) -> str:
    """`models.quick.targets[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part and not any(c in part for c in '." []')
            text += ("." if text else "") + (part if plain else f'"{part}"')
    return text
