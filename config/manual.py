"""Writes the configuration reference in Markdown from the structs."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from config.kinds import Kinds, OneOf, seam_of
from config.root import Config
from config.secret import Secret
from config.shape import choices, fields, unwrap
from config.struct import Ref, Struct
from config.units import Unit

_HEAD = """# Configuration

<!-- Written by `gatehouse config docs`. Change the options where they are defined, not this page. -->

One YAML file (YAML 1.2), by default `./gatehouse.yaml`; `-c FILE` or `GATEHOUSE_CONFIG` names another. Unknown keys,
wrong types, missing units and unknown names are errors. `gatehouse check` reports all of them at once, with exit
code 2.

**References.** A string may contain `${NAME}` (an environment variable), `${NAME:-default}` (the default also applies
if the variable is empty) and `${file:/path}` (the content of a file; relative paths start at the folder of this file);
`os.environ/NAME` works too. Inside `{ }` and `[ ]` put references in quotes. `$${` gives a literal `${`. Output shows
secrets as `••••` and their last four characters, never in full.

**Units.** Durations `500ms`, `20s`, `5m`, `1h`; sizes `10MB`, `64KiB`; percentages `85%`; `3000 tokens`.
"""
_NAMES = {str: "text", int: "whole number", bool: "true or false", float: "number", Secret: "secret"}


def manual(kinds: Kinds) -> str:
    """The complete page."""
    parts = [_HEAD, "## The file\n", _table(Config, kinds)]
    for key, info in fields(Config).items():
        parts += _section(f"## `{key}`", key, info.annotation, kinds)
    return "\n".join(parts).rstrip() + "\n"


def _section(title: str, path: str, annotation: Any, kinds: Kinds) -> list[str]:
    """The section of one field, with the structs within it; nothing for plain values."""
    bare, _ = unwrap(annotation)
    if get_origin(bare) in (dict, tuple):
        is_map = get_origin(bare) is dict
        annotation = get_args(bare)[1 if is_map else 0]
        path = f"{path}.NAME" if is_map else f"{path}[]"
    by_kind = choices(annotation, kinds)
    annotation, _ = unwrap(annotation)
    if len(by_kind) > 1:
        return _kinds(title, path, by_kind, kinds)
    if by_kind:
        (annotation,) = by_kind.values()
    if not (isinstance(annotation, type) and issubclass(annotation, Struct)):
        return []
    parts = [f"{title}\n", f"`{path}`: {annotation.__doc__}\n", _table(annotation, kinds)]
    for key, info in fields(annotation).items():
        parts += _section(f"### `{path}.{key}`", f"{path}.{key}", info.annotation, kinds)
    return parts


def _kinds(title: str, path: str, by_kind: dict[str, type[Struct]], kinds: Kinds) -> list[str]:
    parts = [f"{title}\n", f"`{path}`: its `kind` decides which other keys are valid.\n"]
    for kind, struct in by_kind.items():
        parts += [f"### `kind: {kind}`\n", f"{struct.__doc__}\n", _table(struct, kinds)]
    return [*parts, *_within(path, by_kind, kinds)]


def _within(path: str, by_kind: dict[str, type[Struct]], kinds: Kinds) -> list[str]:
    """The sections within several kinds, each once; with the kind's name if a key differs between kinds."""
    found: dict[str, dict[str, str]] = {}
    for kind, struct in by_kind.items():
        for key, info in fields(struct).items():
            section = "\n".join(_section(f"### `{path}.{key}`", f"{path}.{key}", info.annotation, kinds))
            if section:
                found.setdefault(key, {}).setdefault(section, kind)
    parts: list[str] = []
    for key, sections in found.items():
        for section, kind in sections.items():
            title = f"### `{path}.{key}`"
            parts.append(section if len(sections) == 1 else section.replace(title, f"{title} of `kind: {kind}`", 1))
    return parts


def _table(struct: type[Struct], kinds: Kinds) -> str:
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    own = _own(struct)
    # A kind's own options come before the shared options.
    keys = sorted(fields(struct).items(), key=lambda item: (item[0] != "kind", item[1] not in own))
    for key, info in keys:
        cells = (
            f"`{key}`",
            _type(info.annotation, kinds, tuple(info.metadata)),
            _default(info),
            info.description or "",
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _own(struct: type[Struct]) -> list[FieldInfo]:
    inherited = {name for base in struct.__mro__[1:] for name in getattr(base, "model_fields", {})}
    return [info for name, info in struct.model_fields.items() if name not in inherited]


def _type(annotation: Any, kinds: Kinds, markers: tuple[Any, ...] = ()) -> str:
    annotation, markers = unwrap(annotation, markers)
    for marker in markers:
        if isinstance(marker, Unit):
            return f"{marker.name}, like `{marker.example}`"
        if isinstance(marker, OneOf):
            return ", ".join(f"`{each}`" for each in kinds.listed[marker.listed])
        if isinstance(marker, Ref):
            return f"{marker.noun} and model, `{marker.noun}/model`" if marker.prefix else f"name of a {marker.noun}"
    if seam_of(markers) is not None:
        return "mapping with a `kind`"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in args)
    if origin is tuple:
        return f"list of: {_type(args[0], kinds)}"
    if origin is dict:
        return f"name: {_type(args[1], kinds)}"
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return "mapping, or text" if annotation.shorthand else "mapping"
    return _NAMES.get(annotation, "text")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, tuple) and isinstance(value[0], dict):
        return ", ".join(f"`{{{', '.join(f'{key}: {each}' for key, each in part.items())}}}`" for part in value)
    if isinstance(value, Struct):
        return "see below"
    _, markers = unwrap(info.annotation, tuple(info.metadata))
    for marker in markers:
        if isinstance(marker, Unit):
            return f"`{marker.write(value)}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{value}`"
