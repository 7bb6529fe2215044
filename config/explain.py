"""What pydantic found, in this project's words: the place, what is wrong, one suggestion."""

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
    """Stands for a value that no message may quote."""

    def __init__(self, value: object) -> None:
        self.noun = {str: "text", int: "a number", float: "a number", bool: "a flag", dict: "a mapping"}.get(
            type(value), "a list" if isinstance(value, tuple) else "text" if isinstance(value, str) else "nothing"
        )

    def __str__(self) -> str:
        return "..."


def explain(
    error: ErrorDetails, document: YamlDocument, spots: Mapping[Path, ConfigNode], kinds: Kinds
) -> Fault | None:
    """The fault behind one of pydantic's errors; None when it only follows from an unresolved reference."""
    path, rest = _locate(document.data, error["loc"])
    if any(path[: len(each)] == each for each in document.unresolved):
        return None
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key((*path, *rest), document, spots)
    if kind == "missing":
        return _missing(path, str(rest[0]) if rest else "", document, spots)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_kind(path, document, spots, kinds)
    if error["loc"][-1:] == ("[key]",):
        here = tuple(error["loc"][:-1])
        message, cure = _value(error, here[-1], None)
        return Fault(here, document.keys.get(here, _TOP), message, cure)
    value = _get(document.data, path)
    if kind == WRONG and isinstance(value, dict) and any(each[: len(path)] == path for each in document.unresolved):
        return None  # a struct's check that may have missed just the value that a reference did not give
    entries = len(value) if isinstance(value, Sized) else 1
    if kind == "too_short" and value is not None and entries >= error["ctx"]["min_length"]:
        return None  # its entries (or what stands for the only one) are wrong, and each is told by itself
    if value is not None and path in spots and holds_secret(spots[path].annotation):
        value = _Hidden(value)
    message, cure = _value(error, value, spots.get(path))
    return Fault(path, place(document, path), message, cure)


def place(document: YamlDocument, path: Path) -> TextRange:
    """Where to point for a path: its scalar, else the key that introduces it, else what surrounds it."""
    for end in range(len(path), -1, -1):
        here = path[:end]
        span = document.values.get(here)
        if span is not None:
            is_empty = (span.line, span.column) == (span.end_line, span.end_column)
            is_scalar = not is_empty and not isinstance(_get(document.data, here), (dict, tuple))
            return span if is_scalar or here not in document.keys else document.keys[here]
    return _TOP


def _locate(data: Any, loc: tuple[str | int, ...]) -> tuple[Path, list[str | int]]:
    """The part of pydantic's place that the file has, and the rest."""
    path: list[str | int] = []
    for position, part in enumerate(loc):
        if part == 0 and isinstance(part, int) and not isinstance(data, tuple):
            continue  # the only one of several, written without a list
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


def _struct(spot: ConfigNode | None) -> type[Struct] | None:
    found = spot.annotation if spot else None
    return found if isinstance(found, type) and issubclass(found, Struct) else None


def _unknown_key(path: Path, document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Fault:
    struct, key = _struct(spots.get(path[:-1])), str(path[-1])
    value = _get(document.data, path[:-1])
    known = list(fields(struct)) if struct else []
    # A misspelling is most likely of a key that isn't there yet.
    absent = [each for each in known if each not in value] if isinstance(value, dict) else known
    cure = did_you_mean(key, absent if nearest(key, absent) else known)
    if odd := next((each for each in key if not each.isprintable()), ""):
        # Pasted from a web page: YAML takes it for a letter of the key.
        cure = f"write a usual space for the sign in it that only looks like one (U+{ord(odd):04X})"
    if len(path) == 1:
        message = "there is no such section"
    elif isinstance(value, dict) and "kind" in value and "kind" in known:
        message = f"kind {value['kind']} has no option of this name"
    else:
        message = "there is no such key"
    return Fault(path, document.keys.get(path, _TOP), message, cure)


def _missing(path: Path, key: str, document: YamlDocument, spots: Mapping[Path, ConfigNode]) -> Fault:
    struct = _struct(spots.get(path))
    info = fields(struct).get(key) if struct else None
    examples = (info.examples if info else None) or ["..."]
    span = document.keys.get(path) or document.values.get(path, _TOP)
    return Fault((*path, key), span, "this is missing", f"add {key}: {examples[0]}")


def _wrong_kind(path: Path, document: YamlDocument, spots: Mapping[Path, ConfigNode], kinds: Kinds) -> Fault | None:
    seam = seam_of(spots[path].markers) if path in spots else None
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
            return Fault(misspelled, document.keys.get(misspelled, _TOP), "there is no such key", "did you mean kind?")
        span = document.keys.get(path) or document.values.get(path, _TOP)
        return Fault(here, span, "this is missing", f"add kind: {' or '.join(known)}")
    return Fault(here, place(document, here), f"there is no kind {quote(kind)}", did_you_mean(str(kind), known))


def _value(error: ErrorDetails, value: object, spot: ConfigNode | None) -> tuple[str, str]:
    """What is wrong with one value, and the cure."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == WRONG:
        return _fill(context["message"], value), _fill(context["cure"], value)
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"]) or re.split(r", | or ", context["expected"])
        return f"{quote(value)} is not possible here", did_you_mean(str(value), known)
    if kind.endswith("_type"):
        return _wrong_type(kind, value, spot)
    bound = _BOUNDS.get(kind)
    if bound:
        return f"{bound[0](context)}", bound[1]
    return str(error["msg"]), ""


def _fill(template: object, value: object) -> str:
    return str(template).replace("{value}", quote(value)).replace("{text}", bare(value))


_BOUNDS: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "greater_than": (lambda c: f"this must be more than {c['gt']:g}", ""),
    "greater_than_equal": (lambda c: f"this must be at least {c['ge']:g}", ""),
    "less_than": (lambda c: f"this must be less than {c['lt']:g}", ""),
    "less_than_equal": (lambda c: f"this must be at most {c['le']:g}", ""),
    "too_short": (
        lambda c: f"there must be at least {c['min_length']} of these" if c["min_length"] > 1 else "the list is empty",
        "add what is missing",
    ),
    "too_long": (lambda c: f"there may be at most {c['max_length']} of these", "leave out the rest"),
    "string_too_short": (lambda c: "this is empty", "leave the key out, or give it a value"),
    "string_pattern_mismatch": (lambda c: "this has not the right form", "see gatehouse config docs"),
}
_EXPECTED = {
    "string": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "tuple": "a list",
    "dict": "a mapping", "model": "a mapping", "model_attributes": "a mapping",
}  # fmt: skip


def _wrong_type(kind: str, value: object, spot: ConfigNode | None) -> tuple[str, str]:
    wanted = kind.removesuffix("_type")
    given = _given(value)
    message = f"{given} where {_EXPECTED.get(wanted, wanted)} is expected"
    if value is None:
        return message, "leave the key out for the default, or give it a value"
    if wanted == "tuple" and isinstance(value, _Hidden) and value.noun == "text":
        return message, "write it as a list: [...]"
    if wanted == "tuple" and isinstance(value, str):
        return message, f"write it as a list: [{value if value in given else '...'}]"
    if wanted == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return message, _cure_of_text(str(value), spot) or f'put it in quotes: "{value}"'
    if wanted == "bool":
        truth = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(str(value).lower())
        return message, f"write {truth}" if truth else "write true or false"
    if wanted == "int":
        return message, "write digits only"
    struct = _struct(spot)
    if struct is not None and not is_open(struct):
        return message, f"known here: {', '.join(fields(struct))}"
    if spot and get_origin(spot.annotation) is dict and (names := get_args(spot.annotation)):
        return message, "write one entry per line, each with its name" if names else ""
    return message, ""


def _cure_of_text(text: str, spot: ConfigNode | None) -> str:
    """What would still be wrong with a number once it stands in quotes; empty if nothing would."""
    for marker in spot.markers if spot is not None else ():
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
