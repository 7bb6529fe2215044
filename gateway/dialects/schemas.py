"""JSON schemas fitted to vendors who take only some of them.

What a vendor's subset has no keyword for goes into the description, where the model reads it, as the vendors' own SDKs
do. All walks are bounded: a schema comes from the caller, and its references may lead in circles.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import msgspec

from gateway.dialects.schema_words import in_words, with_description

# What the schemas of one request may take: their keys and items, counted again wherever a reference leads to them.
MOST_NODES = 30_000
MOST_DEPTH = 64
_LONGEST_REFERENCE = 1_000
# Bytes of schemas whose fitted forms are kept, for the tools of an agent come with each of its turns.
_MOST_KEPT, _LARGEST_KEPT = 1_000_000, 32_768
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_DEFINED = re.compile(r"#/(?:\$defs|definitions)/([^/]+)\Z")
# Says nothing about values.
_ABOUT_ITSELF = frozenset({"$schema", "$id", "$comment", "$anchor", "$defs", "definitions"})
_ANNOTATIONS = frozenset({"description", "title", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_SCALARS = frozenset({"string", "number", "integer", "boolean", "null"})
_PRIMITIVE = (str, int, float, bool, type(None))


class Inexpressible(Exception):
    """The schema means something that the subset can't say; the message is why."""


class Budget:
    """What is left of the work that the schemas of one request may take."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MOST_NODES

    def spend(self, nodes: int) -> None:
        """Raises `Inexpressible` when there is nothing left."""
        self._left -= nodes
        if self._left < 0:
            raise Inexpressible("a schema that is too large or refers to itself")

    @property
    def spent(self) -> bool:
        """Whether there is nothing left."""
        return self._left < 0


class SchemaSubset(msgspec.Struct, frozen=True):
    """What a vendor takes.

    `keywords` are kept as they are, besides those of the structure. `closed`: every object is closed and has its
    properties named, every value has a type, and nothing refers to itself. `most_items` is the largest `minItems`.
    """

    keywords: frozenset[str]
    formats: frozenset[str]
    closed: bool
    const: bool
    enum_types: tuple[type, ...]


def narrow(schema: dict[str, Any], subset: SchemaSubset, budget: Budget) -> tuple[dict[str, Any], bool]:
    """The schema in the words of the subset, and whether something was said in the description instead.

    Raises `Inexpressible`.
    """
    writer = _Narrower(schema, subset, budget)
    return writer.write(), writer.said


_Fitted = TypeVar("_Fitted")


class MemoizedFit(Generic[_Fitted]):
    """A way to fit schemas that knows its latest results. Nobody may change what it gives."""

    def __init__(self, fit: Callable[[dict[str, Any], Budget], _Fitted]) -> None:
        self._fit = fit
        self._kept: dict[bytes, _Fitted] = {}
        self._bytes = 0
        update_wrapper(self, fit)

    def __call__(self, schema: dict[str, Any], budget: Budget | None = None) -> _Fitted:
        """Raises what the way raises. `budget` is what is left for the whole request."""
        data = _encode(schema)
        kept = self._kept.get(data)
        if kept is not None:
            return kept
        budget = budget or Budget()
        if len(data) > _LARGEST_KEPT:
            return self._fit(schema, budget)
        # Of a copy: the result may hold parts of the schema, and outlives the request.
        found = self._fit(_decode(data), budget)
        if not budget.spent:
            self._kept[data] = found
            self._bytes += len(data)
            while self._bytes > _MOST_KEPT:
                oldest = next(iter(self._kept))
                del self._kept[oldest]
                self._bytes -= len(oldest)
        return found


def resolve(root: dict[str, Any], ref: object) -> Any:
    """What a reference within the schema refers to. Raises `Inexpressible` for one that leads nowhere or outside."""
    if not isinstance(ref, str) or not ref.startswith("#") or len(ref) > _LONGEST_REFERENCE:
        raise Inexpressible("a reference outside of the schema")
    found: Any = root
    for step in [each for each in unquote(ref[1:]).split("/") if each]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdigit() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            raise Inexpressible("a reference that leads nowhere")
    return found


def merged(source: dict[str, Any], root: dict[str, Any], budget: Budget, depth: int = 0) -> dict[str, Any]:
    """The schema with the parts of its `allOf` put into it. Raises `Inexpressible` where they contradict each other."""
    if "allOf" not in source:
        return source
    if depth > MOST_DEPTH:
        raise Inexpressible("a schema that refers to itself")
    found = {key: value for key, value in source.items() if key != "allOf"}
    for key in ("properties", "required"):
        if isinstance(found.get(key), dict | list):
            budget.spend(len(found[key]))
            found[key] = found[key].copy()
    for part in source["allOf"] if isinstance(source["allOf"], list) else ():
        inner = part
        for _ in range(MOST_DEPTH):
            if not (isinstance(inner, dict) and "$ref" in inner):
                break
            inner = {**_object(resolve(root, inner["$ref"])), **{k: v for k, v in inner.items() if k != "$ref"}}
        if inner is True:
            continue
        for key, value in merged(_object(inner), root, budget, depth + 1).items():
            for each in (value, found.get(key) if key == "required" else None):
                budget.spend(1 + (len(each) if isinstance(each, dict | list) else 0))
            _merge_key(found, key, value)
    return found


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Inexpressible("a part that nothing satisfies")
    return value


def _merge_key(found: dict[str, Any], key: str, value: Any) -> None:
    """Changes `found`, whose properties and required names are its own."""
    before = found.get(key)
    if key == "properties" and isinstance(before, dict) and isinstance(value, dict):
        if any(before.get(name, each) is not each and before[name] != each for name, each in value.items()):
            raise Inexpressible("parts that say different things of one property")
        before.update(value)
    elif key == "required" and isinstance(before, list) and isinstance(value, list):
        known = {name for name in before if isinstance(name, str)}
        before += [name for name in value if isinstance(name, str) and name not in known]
    elif key == "additionalProperties":
        # Of a part alone: together they have more properties than each of them knows.
        return
    elif key not in found:
        found[key] = value.copy() if key in ("properties", "required") and isinstance(value, dict | list) else value
    elif before != value and key not in _ANNOTATIONS and key not in _ABOUT_ITSELF:
        raise Inexpressible(f"parts whose {key[:40]} differ")


class _Narrower:
    def __init__(self, root: dict[str, Any], subset: SchemaSubset, budget: Budget) -> None:
        self._root = root
        self._subset = subset
        self._budget = budget
        self._definitions: dict[str, Any] = {}
        self._todo: list[str] = []
        self._named = {
            name: each
            for key in ("definitions", "$defs")
            if isinstance(root.get(key), dict)
            for name, each in root[key].items()
        }
        self.said = False

    def write(self) -> dict[str, Any]:
        written = self._schema(self._root, 0)
        while self._todo:
            name = self._todo.pop()
            self._definitions[name] = self._schema(self._named[name], 1)
        if self._subset.closed and _circular(self._definitions):
            raise Inexpressible("a schema that refers to itself")
        return {**written, "$defs": self._definitions} if self._definitions else written

    def _schema(self, value: Any, depth: int) -> dict[str, Any]:
        keys = value.values() if isinstance(value, dict) else ()
        self._budget.spend(1 + len(keys) + sum([len(each) for each in keys if isinstance(each, list)]))
        if depth > MOST_DEPTH:
            raise Inexpressible("a schema that is too deep or refers to itself")
        if value is True:
            value = {}
        if not isinstance(value, dict):
            raise Inexpressible("a value that nothing satisfies")
        if "$ref" in value:
            return self._reference(value, depth)
        source = {key: each for key, each in value.items() if key not in _ABOUT_ITSELF}
        try:
            source = {
                key: each for key, each in merged(source, self._root, self._budget).items() if key not in _ABOUT_ITSELF
            }
        except Inexpressible:
            if self._subset.closed:
                raise
        return self._typed(source, depth)

    def _reference(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        """A reference stands alone. What is said beside it of values goes into what it refers to."""
        ref = value["$ref"]
        match = _DEFINED.match(ref) if isinstance(ref, str) else None
        name = unquote(match[1]).replace("~1", "/").replace("~0", "~") if match else ""
        beside = {key: each for key, each in value.items() if key != "$ref" and key not in _ABOUT_ITSELF}
        if name not in self._named or not beside.keys() <= _ANNOTATIONS:
            inner = resolve(self._root, ref)
            return self._schema({**_object({} if inner is True else inner), **beside}, depth + 1)
        if name not in self._definitions:
            self._definitions[name] = None
            self._todo.append(name)
        written = {"$ref": "#/$defs/" + _pointer(name)}
        if beside and not self._subset.closed:
            return {**self._described({}, beside), "anyOf": [written]}
        self.said = self.said or bool(beside)
        return written

    def _typed(self, source: dict[str, Any], depth: int) -> dict[str, Any]:
        kinds = self._kinds(source)
        if len(kinds) > 1 and not _SCALARS.issuperset(kinds):
            about: dict[str, Any] = {key: source.pop(key) for key in ("description", "title") if key in source}
            each_kind: list[dict[str, Any]] = [{**_about(source, kind), "type": kind} for kind in kinds]
            return {**about, "anyOf": [self._typed(each, depth + 1) for each in each_kind]}
        out: dict[str, Any] = {}
        variants = self._take_variants(source, kinds)
        if variants:
            # One that nothing satisfies adds nothing.
            out["anyOf"] = [self._schema(each, depth + 1) for each in variants if each is not False]
            return self._described(out, source)
        nullable = self._take_values(source, out, kinds)
        if kinds and not ("enum" in out and self._subset.const) and "const" not in out:
            out["type"] = kinds[0] if len(kinds) == 1 else kinds
        if not kinds and not out and self._subset.closed:
            raise Inexpressible("a value of any type")
        if "object" in kinds:
            self._take_object(source, out, depth)
        elif "array" in kinds:
            self._take_array(source, out, depth)
        written = self._described(out, source)
        return {"anyOf": [written, {"type": "null"}]} if nullable else written

    @staticmethod
    def _kinds(source: dict[str, Any]) -> list[str]:
        said = source.pop("type", None)
        kinds = [each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str)]
        if not kinds and isinstance(source.get("properties"), dict):
            kinds = ["object"]
        elif not kinds and ("items" in source or "prefixItems" in source):
            kinds = ["array"]
        if source.pop("nullable", None) is True and kinds:
            kinds.append("null")
        return list(dict.fromkeys(kinds))

    def _take_variants(self, source: dict[str, Any], kinds: list[str]) -> list[Any]:
        """`anyOf` or `oneOf`, where they are what the schema is and not only a condition beside it."""
        for key in ("anyOf", "oneOf"):
            variants = source.get(key)
            if not isinstance(variants, list) or not variants or "properties" in source or "enum" in source:
                continue
            whole = all(each is True or (isinstance(each, dict) and _is_whole(each)) for each in variants)
            if kinds and not whole:
                continue
            del source[key]
            return variants
        return []

    def _take_values(self, source: dict[str, Any], out: dict[str, Any], kinds: list[str]) -> bool:
        """`enum` and `const`. Says whether null is one of the values and has to be said apart."""
        values = source.get("enum")
        if "const" in source and not self._subset.const:
            values = [source["const"]]
        if isinstance(values, list) and values and all(isinstance(each, _PRIMITIVE) for each in values):
            others = [each for each in values if each is not None]
            fits = all(isinstance(each, self._subset.enum_types) and not _odd(each, self._subset) for each in others)
            if fits and others:
                source.pop("enum", None)
                source.pop("const", None)
                apart = len(others) < len(values) and not self._subset.const
                out["enum"] = others if apart else values
                if apart and "null" in kinds:
                    kinds.remove("null")
                if not self._subset.const and not kinds:
                    kinds.append("string" if all(isinstance(each, str) for each in others) else "number")
                return apart
        if "const" in source and self._subset.const and isinstance(source["const"], _PRIMITIVE):
            out["const"] = source.pop("const")
        elif not kinds and isinstance(values, list) and values:
            kinds += _types_of(values)
        return False

    def _take_object(self, source: dict[str, Any], out: dict[str, Any], depth: int) -> None:
        properties = source.pop("properties", None)
        properties = properties if isinstance(properties, dict) else {}
        out_properties = {name: self._schema(each, depth + 1) for name, each in properties.items() if each is not False}
        more = source.pop("additionalProperties", None)
        if self._subset.closed:
            if not out_properties and (more is not False or "patternProperties" in source):
                raise Inexpressible("an object with any properties")
            if isinstance(more, dict) and more:
                source["additionalProperties"] = more
            out["additionalProperties"] = False
        elif isinstance(more, bool):
            out["additionalProperties"] = more
        elif isinstance(more, dict):
            out["additionalProperties"] = self._schema(more, depth + 1)
        if out_properties or self._subset.closed:
            out["properties"] = out_properties
        required = source.pop("required", None)
        if isinstance(required, list):
            out["required"] = [name for name in required if isinstance(name, str) and name in out_properties]
            if not out["required"]:
                del out["required"]

    def _take_array(self, source: dict[str, Any], out: dict[str, Any], depth: int) -> None:
        items = source.pop("items", None)
        first = source.get("prefixItems")
        if isinstance(items, list):
            first, items = items, source.pop("additionalItems", None)
        if isinstance(first, list) and first:
            source.pop("prefixItems", None)
            if "prefixItems" in self._subset.keywords:
                out["prefixItems"] = [self._schema(each, depth + 1) for each in first]
            else:
                source["prefixItems"] = first
                others = [items] if isinstance(items, dict) else []
                items = {"anyOf": list({_encode(each): each for each in (*first, *others)}.values())}
        if isinstance(items, dict) and (items or not self._subset.closed):
            out["items"] = self._schema(items, depth + 1)
        least = source.get("minItems")
        if self._subset.closed and type(least) is int and least in (0, 1):
            out["minItems"] = source.pop("minItems")

    def _described(self, out: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
        """With what is left of `source`: as keywords that the vendor knows, or in words."""
        for key in ("description", "title"):
            if isinstance(source.get(key), str):
                out[key] = source[key]
            source.pop(key, None)
        for bound, wide, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            limit = source.get(bound)
            whole = type(limit) is int and out.get("type") == "integer" and wide not in source
            if whole and wide in self._subset.keywords:
                source[wide] = source.pop(bound) + step
        for key in [each for each in source if each in self._subset.keywords]:
            out[key] = source.pop(key)
        if isinstance(source.get("format"), str) and source["format"] in self._subset.formats:
            out["format"] = source.pop("format")
        if not source:
            return out
        self.said = True
        words, size = in_words(source)
        self._budget.spend(size // 100)
        return with_description(out, words)


_OF_KIND = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "additionalItems"}),
    "string": frozenset({"format", "pattern", "minLength", "maxLength"}),
}


def _about(source: dict[str, Any], kind: str) -> dict[str, Any]:
    """What a schema of several types says of one of them."""
    others = frozenset().union(*[keys for each, keys in _OF_KIND.items() if each != kind])
    return {key: value for key, value in source.items() if key not in others}


def _is_whole(schema: dict[str, Any]) -> bool:
    """Whether it says what a value is, and not only something more about it."""
    return bool(schema.keys() & {"type", "properties", "$ref", "enum", "const", "items", "anyOf", "oneOf", "allOf"})


def _odd(value: object, subset: SchemaSubset) -> bool:
    """A boolean is a number to Python, and not to a vendor who takes numbers only."""
    return isinstance(value, bool) and bool not in subset.enum_types


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (type(None), "null"), (list, "array"),
    (dict, "object"),
)  # fmt: skip


def _types_of(values: list[Any]) -> list[str]:
    found = [next(name for kind, name in _NAMES if isinstance(value, kind)) for value in values]
    return list(dict.fromkeys(found))


def _circular(definitions: dict[str, Any]) -> bool:
    """Whether a definition leads back to itself: whether some are left when all that only lead to others have gone."""
    leads = {f"#/$defs/{_pointer(name)}": set(_references(each)) for name, each in definitions.items()}
    led: dict[str, list[str]] = {}
    for ref, others in leads.items():
        for other in others:
            led.setdefault(other, []).append(ref)
    waiting = {ref: len(others & leads.keys()) for ref, others in leads.items()}
    free = [ref for ref, number in waiting.items() if not number]
    gone = 0
    while free:
        gone += 1
        for ref in led.get(free.pop(), ()):
            waiting[ref] -= 1
            if not waiting[ref]:
                free.append(ref)
    return gone < len(leads)


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _references(value: Any) -> list[str]:
    found: list[str] = []
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$ref"), str):
                found.append(each["$ref"])
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return found
