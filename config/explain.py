"""Turns pydantic's errors into faults: the place, what is wrong, one suggestion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sized
from typing import Any, cast, get_args, get_origin

from pydantic import AfterValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from config.document import Fault, Path, TextRange, YamlDocument
from config.findings import WRONG, bare, did_you_mean, nearest, quote
from config.kinds import Kinds, seam_of
from config.shape import ConfigNode, fields, holds_secret, is_open
from config.struct import Struct

_TOP = TextRange(0, 0, 0, 1)


class _Hidden:
    """A value that no message may quote."""

    def __init__(self, value: object) -> None:
        self.noun = {str: "text", int: "a number", float: "a number", bool: "a flag", dict: "a mapping"}.get(
            type(value), "a list" if isinstance(value, tuple) else "text" if isinstance(value, str) else "nothing"
        )

    def __str__(self) -> str:
        return "..."


def explain(
    error: ErrorDetails, document: YamlDocument, nodes: Mapping[Path, ConfigNode], kinds: Kinds
) -> Fault | None:
    """The fault for one of pydantic's errors; None if an unresolved reference causes it."""
    path, rest = _locate(document.data, error["loc"])
    if any(path[: len(each)] == each for each in document.unresolved):
        return None
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key((*path, *rest), document, nodes)
    if kind == "missing":
        return _missing(path, str(rest[0]) if rest else "", document, nodes)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(path, document, nodes, kinds)
    if error["loc"][-1:] == ("[key]",):
        here = tuple(error["loc"][:-1])
        message, cure = _value(error, here[-1], None)
        return Fault(here, document.keys.get(here, _TOP), message, cure)
    value = _get(document.data, path)
    if kind == WRONG and isinstance(value, dict) and any(each[: len(path)] == path for each in document.unresolved):
        return None  # a struct's own check, which may have failed only because of the unresolved reference
    entries = len(value) if isinstance(value, Sized) else 1
    if kind == "too_short" and value is not None and entries >= error["ctx"]["min_length"]:
        return None  # its entries are wrong, and each has its own error
    if value is not None and path in nodes and holds_secret(nodes[path].annotation):
        value = _Hidden(value)
    message, cure = _value(error, value, nodes.get(path))
    return Fault(path, place(document, path), message, cure)


def place(document: YamlDocument, path: Path) -> TextRange:
    """The text range to mark for a path: its scalar, else its key, else the closest enclosing value."""
    for end in range(len(path), -1, -1):
        here = path[:end]
        span = document.values.get(here)
        if span is not None:
            is_empty = (span.line, span.column) == (span.end_line, span.end_column)
            is_scalar = not is_empty and not isinstance(_get(document.data, here), (dict, tuple))
            return span if is_scalar or here not in document.keys else document.keys[here]
    return _TOP


def _locate(data: Any, loc: tuple[str | int, ...]) -> tuple[Path, list[str | int]]:
    """Splits pydantic's location into the part that exists in the file, and the rest."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        if part == 0 and isinstance(part, int) and not isinstance(data, tuple):
            continue  # a single entry, written without a list
        inside = (isinstance(data, dict) and part in data) or (
            isinstance(data, tuple) and isinstance(part, int) and part < len(data)
        )
        if not inside or part == "[key]":
            return tuple(path), list(loc[position:])
        data = data[part]
        path.append(part)
    return tuple(path), []


def _get(data: Any, path: Path) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _struct(node: ConfigNode | None) -> type[Struct] | None:
    found = node.annotation if node else None
    return found if isinstance(found, type) and issubclass(found, Struct) else None


def _unknown_key(path: Path, document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Fault:
    struct, key = _struct(nodes.get(path[:-1])), str(path[-1])
    value = _get(document.data, path[:-1])
    known = list(fields(struct)) if struct else []
    # A misspelled key most likely means a key that the mapping does not have.
    absent = [each for each in known if each not in value] if isinstance(value, dict) else known
    cure = did_you_mean(key, absent if nearest(key, absent) else known)
    if odd := next((each for each in key if not each.isprintable()), ""):
        # Pasted from a web page: YAML reads it as part of the key.
        cure = f"remove the invisible character in it (U+{ord(odd):04X}), or write a normal space"
    if len(path) == 1:
        message = "unknown section"
    elif isinstance(value, dict) and "kind" in value and "kind" in known:
        message = f"kind {value['kind']} has no such option"
    else:
        message = "unknown key"
    return Fault(path, document.keys.get(path, _TOP), message, cure)


def _missing(path: Path, key: str, document: YamlDocument, nodes: Mapping[Path, ConfigNode]) -> Fault:
    struct = _struct(nodes.get(path))
    info = fields(struct).get(key) if struct else None
    examples = (info.examples if info else None) or ["..."]
    span = document.keys.get(path) or document.values.get(path, _TOP)
    return Fault((*path, key), span, "required key is missing", f"add {key}: {examples[0]}")


def _wrong_kind(path: Path, document: YamlDocument, nodes: Mapping[Path, ConfigNode], kinds: Kinds) -> Fault | None:
    seam = seam_of(nodes[path].markers) if path in nodes else None
    known = kinds.names(seam.seam) if seam is not None else []
    value = _get(document.data, path)
    kind = value.get("kind") if isinstance(value, dict) else None
    here = (*path, "kind")
    if here in document.unresolved:
        return None
    if isinstance(value, dict) and "kind" not in value:
        near = nearest("kind", value)
        if near:
            misspelled = (*path, near)
            return Fault(misspelled, document.keys.get(misspelled, _TOP), "unknown key", "did you mean kind?")
        span = document.keys.get(path) or document.values.get(path, _TOP)
        return Fault(here, span, "required key is missing", f"add kind: {' or '.join(known)}")
    return Fault(here, place(document, here), f"there is no kind {quote(kind)}", did_you_mean(str(kind), known))


def _value(error: ErrorDetails, value: object, node: ConfigNode | None) -> tuple[str, str]:
    """What is wrong with one value, and the cure."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == WRONG:
        return _fill(context["message"], value), _fill(context["cure"], value)
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"]) or re.split(r", | or ", context["expected"])
        return f"{quote(value)} is not an allowed value", did_you_mean(str(value), known)
    if kind.endswith("_type"):
        return _wrong_type(kind, value, node)
    bound = _BOUNDS.get(kind)
    if bound:
        return f"{bound[0](context)}", bound[1]
    return str(error["msg"]), ""


def _fill(template: object, value: object) -> str:
    return str(template).replace("{value}", quote(value)).replace("{text}", bare(value))


_BOUNDS: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "greater_than": (lambda c: f"must be more than {c['gt']:g}", ""),
    "greater_than_equal": (lambda c: f"must be at least {c['ge']:g}", ""),
    "less_than": (lambda c: f"must be less than {c['lt']:g}", ""),
    "less_than_equal": (lambda c: f"must be at most {c['le']:g}", ""),
    "too_short": (
        lambda c: f"must have at least {c['min_length']} entries" if c["min_length"] > 1 else "the list is empty",
        "add the missing entries",
    ),
    "too_long": (lambda c: f"must have at most {c['max_length']} entries", "remove the other entries"),
    "string_too_short": (lambda c: "must not be empty", "remove the key, or give it a value"),
    "string_pattern_mismatch": (lambda c: "the format is not valid", "see gatehouse config docs"),
}
_EXPECTED = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "a list",
    "dict": "a mapping", "model": "a mapping", "model_attributes": "a mapping",
}  # fmt: skip


def _wrong_type(kind: str, value: object, node: ConfigNode | None) -> tuple[str, str]:
    wanted = kind.removesuffix("_type")
    given = _given(value)
    message = f"{given} where {_EXPECTED.get(wanted, wanted)} is expected"
    if value is None:
        return message, "remove the key to use the default, or give it a value"
    if wanted == "tuple" and isinstance(value, _Hidden) and value.noun == "text":
        return message, "write it as a list: [...]"
    if wanted == "tuple" and isinstance(value, str):
        return message, f"write it as a list: [{value if value in given else '...'}]"
    if wanted == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return message, _cure_of_text(str(value), node) or f'put it in quotes: "{value}"'
    if wanted == "bool":
        truth = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(value).lower())
        return message, f"write {truth}" if truth else "write true or false"
    if wanted == "int":
        return message, "write digits only"
    struct = _struct(node)
    if struct is not None and not is_open(struct):
        return message, f"possible keys: {', '.join(fields(struct))}"
    if node and get_origin(node.annotation) is dict and (names := get_args(node.annotation)):
        return message, "write one named entry per line" if names else ""
    return message, ""


def _cure_of_text(text: str, node: ConfigNode | None) -> str:
    """The cure for a number that would still be wrong in quotes; empty if quotes are enough."""
    for marker in node.markers if node is not None else ():
        if isinstance(marker, AfterValidator):
            try:
                cast("Callable[[str], object]", marker.func)(text)
            except PydanticCustomError as error:
                return _fill((error.context or {}).get("cure", ""), text)
    return ""


def _given(value: object) -> str:
    if isinstance(value, _Hidden):
        return value.noun
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, tuple) else "nothing"
