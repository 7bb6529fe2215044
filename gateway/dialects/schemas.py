"""Converts JSON schemas to the subset that a vendor supports.

Unsupported keywords are moved into the description, where the model reads them, as the vendors' SDKs do. All traversals
are bounded, because the schema comes from the caller and may contain circular references.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import msgspec

from gateway.dialects.schema_descriptions import append_description, describe_keywords

# The budget for the schemas of one request: keys and items, counted again for each reference to them.
MAX_NODES = 30_000
MAX_SCHEMA_DEPTH = 64
_MAX_REFERENCE_CHARS = 1_000
# Bytes of schemas whose results are cached, because an agent sends the same tools with each turn.
_MAX_CACHE_BYTES, _MAX_CACHED_SCHEMA = 1_000_000, 32_768
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_DEFINITION_REF = re.compile(r"#/(?:\$defs|definitions)/([^/]+)\Z")
# Keywords that do not constrain values.
_META_KEYWORDS = frozenset({"$schema", "$id", "$comment", "$anchor", "$defs", "definitions"})
_ANNOTATIONS = frozenset({"description", "title", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_SCALARS = frozenset({"string", "number", "integer", "boolean", "null"})
_PRIMITIVE = (str, int, float, bool, type(None))


class Inexpressible(Exception):
    """The subset can't express the schema; the message is the reason."""


class Budget:
    """The remaining work budget for the schemas of one request."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_NODES

    def spend(self, nodes: int) -> None:
        """Spends `nodes`. Raises `Inexpressible` if the budget is exhausted."""
        self._left -= nodes
        if self._left < 0:
            raise Inexpressible("a schema that is too large or refers to itself")

    @property
    def spent(self) -> bool:
        """Whether the budget is exhausted."""
        return self._left < 0


class SchemaSubset(msgspec.Struct, frozen=True):
    """The part of JSON schema that a vendor supports.

    `keywords` are supported besides the structural ones. `closed`: every object is closed and names its properties,
    every value has a type, and no schema is recursive.
    """

    keywords: frozenset[str]
    formats: frozenset[str]
    closed: bool
    const: bool
    enum_types: tuple[type, ...]


def narrow(schema: dict[str, Any], subset: SchemaSubset, budget: Budget) -> tuple[dict[str, Any], bool]:
    """The schema in the subset, and whether a part was moved to descriptions.

    Raises `Inexpressible`.
    """
    writer = _Narrower(schema, subset, budget)
    return writer.write(), writer.moved


_Result = TypeVar("_Result")


class MemoizedFit(Generic[_Result]):
    """A schema conversion that caches its latest results. Callers must not modify a result."""

    def __init__(self, fit: Callable[[dict[str, Any], Budget], _Result]) -> None:
        self._fit = fit
        self._cache: dict[bytes, _Result] = {}
        self._bytes = 0
        update_wrapper(self, fit)

    def __call__(self, schema: dict[str, Any], budget: Budget | None = None) -> _Result:
        """Converts a schema. Raises what the conversion raises. `budget` is the remaining budget of the request."""
        data = _encode(schema)
        cached = self._cache.get(data)
        if cached is not None:
            return cached
        budget = budget or Budget()
        if len(data) > _MAX_CACHED_SCHEMA:
            return self._fit(schema, budget)
        # Converts a copy, because the result may share parts with the schema and outlives the request.
        result = self._fit(_decode(data), budget)
        if not budget.spent:
            self._cache[data] = result
            self._bytes += len(data)
            while self._bytes > _MAX_CACHE_BYTES:
                oldest = next(iter(self._cache))
                del self._cache[oldest]
                self._bytes -= len(oldest)
        return result


def resolve(root: dict[str, Any], ref: object) -> Any:
    """Resolves a reference within the schema. Raises `Inexpressible` for a dangling or external reference."""
    if not isinstance(ref, str) or not ref.startswith("#") or len(ref) > _MAX_REFERENCE_CHARS:
        raise Inexpressible("a reference to another document")
    target: Any = root
    for step in [each for each in unquote(ref[1:]).split("/") if each]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdigit() and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, dict) and name in target:
            target = target[name]
        else:
            raise Inexpressible("a reference to a missing definition")
    return target


def merge_all_of(source: dict[str, Any], root: dict[str, Any], budget: Budget, depth: int = 0) -> dict[str, Any]:
    """The schema with its `allOf` merged into it. Raises `Inexpressible` if the parts contradict each other."""
    if "allOf" not in source:
        return source
    if depth > MAX_SCHEMA_DEPTH:
        raise Inexpressible("a schema that refers to itself")
    merged = {key: value for key, value in source.items() if key != "allOf"}
    for key in ("properties", "required"):
        if isinstance(merged.get(key), dict | list):
            budget.spend(len(merged[key]))
            merged[key] = merged[key].copy()
    for part in source["allOf"] if isinstance(source["allOf"], list) else ():
        inner = part
        for _ in range(MAX_SCHEMA_DEPTH):
            if not (isinstance(inner, dict) and "$ref" in inner):
                break
            inner = {**_object(resolve(root, inner["$ref"])), **{k: v for k, v in inner.items() if k != "$ref"}}
        if inner is True:
            continue
        for key, value in merge_all_of(_object(inner), root, budget, depth + 1).items():
            for each in (value, merged.get(key) if key == "required" else None):
                budget.spend(1 + (len(each) if isinstance(each, dict | list) else 0))
            _merge_key(merged, key, value)
    return merged


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Inexpressible("a part that no value satisfies")
    return value


def _merge_key(merged: dict[str, Any], key: str, value: Any) -> None:
    """Merges into `merged`, whose `properties` and `required` are copies."""
    before = merged.get(key)
    if key == "properties" and isinstance(before, dict) and isinstance(value, dict):
        if any(before.get(name, each) is not each and before[name] != each for name, each in value.items()):
            raise Inexpressible("parts that define one property differently")
        before.update(value)
    elif key == "required" and isinstance(before, list) and isinstance(value, list):
        known = {name for name in before if isinstance(name, str)}
        before += [name for name in value if isinstance(name, str) and name not in known]
    elif key == "additionalProperties":
        # It applies to one part only: the merged schema has more properties than each part.
        return
    elif key not in merged:
        merged[key] = value.copy() if key in ("properties", "required") and isinstance(value, dict | list) else value
    elif before != value and key not in _ANNOTATIONS and key not in _META_KEYWORDS:
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
        self.moved = False

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
        if depth > MAX_SCHEMA_DEPTH:
            raise Inexpressible("a schema that is too deep or refers to itself")
        if value is True:
            value = {}
        if not isinstance(value, dict):
            raise Inexpressible("a schema that no value satisfies")
        if "$ref" in value:
            return self._reference(value, depth)
        source = {key: each for key, each in value.items() if key not in _META_KEYWORDS}
        try:
            merged = merge_all_of(source, self._root, self._budget)
            source = {key: each for key, each in merged.items() if key not in _META_KEYWORDS}
        except Inexpressible:
            if self._subset.closed:
                raise
        return self._typed(source, depth)

    def _reference(self, value: dict[str, Any], depth: int) -> dict[str, Any]:
        """A reference must have no sibling keywords. Siblings that constrain values are merged into its target."""
        ref = value["$ref"]
        match = _DEFINITION_REF.match(ref) if isinstance(ref, str) else None
        name = unquote(match[1]).replace("~1", "/").replace("~0", "~") if match else ""
        beside = {key: each for key, each in value.items() if key != "$ref" and key not in _META_KEYWORDS}
        if name not in self._named or not beside.keys() <= _ANNOTATIONS:
            inner = resolve(self._root, ref)
            return self._schema({**_object({} if inner is True else inner), **beside}, depth + 1)
        if name not in self._definitions:
            self._definitions[name] = None
            self._todo.append(name)
        written = {"$ref": "#/$defs/" + _pointer(name)}
        if beside and not self._subset.closed:
            return {**self._described({}, beside), "anyOf": [written]}
        self.moved = self.moved or bool(beside)
        return written

    def _typed(self, source: dict[str, Any], depth: int) -> dict[str, Any]:
        kinds = self._kinds(source)
        if len(kinds) > 1 and not _SCALARS.issuperset(kinds):
            annotations: dict[str, Any] = {key: source.pop(key) for key in ("description", "title") if key in source}
            variants_by_kind: list[dict[str, Any]] = [{**_for_kind(source, kind), "type": kind} for kind in kinds]
            return {**annotations, "anyOf": [self._typed(each, depth + 1) for each in variants_by_kind]}
        out: dict[str, Any] = {}
        variants = self._take_variants(source, kinds)
        if variants:
            # A variant that no value satisfies is dropped.
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
        declared = source.pop("type", None)
        kinds = [each for each in (declared if isinstance(declared, list) else [declared]) if isinstance(each, str)]
        if not kinds and isinstance(source.get("properties"), dict):
            kinds = ["object"]
        elif not kinds and ("items" in source or "prefixItems" in source):
            kinds = ["array"]
        if source.pop("nullable", None) is True and kinds:
            kinds.append("null")
        return list(dict.fromkeys(kinds))

    def _take_variants(self, source: dict[str, Any], kinds: list[str]) -> list[Any]:
        """`anyOf` or `oneOf`, if they define the value rather than add a condition to it."""
        for key in ("anyOf", "oneOf"):
            variants = source.get(key)
            if not isinstance(variants, list) or not variants or "properties" in source or "enum" in source:
                continue
            all_complete = all(each is True or (isinstance(each, dict) and _is_complete(each)) for each in variants)
            if kinds and not all_complete:
                continue
            del source[key]
            return variants
        return []

    def _take_values(self, source: dict[str, Any], out: dict[str, Any], kinds: list[str]) -> bool:
        """Converts `enum` and `const`. Returns whether null is a value that must be expressed separately."""
        values = source.get("enum")
        if "const" in source and not self._subset.const:
            values = [source["const"]]
        if isinstance(values, list) and values and all(isinstance(each, _PRIMITIVE) for each in values):
            others = [each for each in values if each is not None]
            if others and all(_is_enum_value(each, self._subset) for each in others):
                source.pop("enum", None)
                source.pop("const", None)
                separate_null = len(others) < len(values) and not self._subset.const
                out["enum"] = others if separate_null else values
                if separate_null and "null" in kinds:
                    kinds.remove("null")
                if not self._subset.const and not kinds:
                    kinds.append("string" if all(isinstance(each, str) for each in others) else "number")
                return separate_null
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
        """Adds the rest of `source`: as supported keywords, or as text in the description."""
        for key in ("description", "title"):
            if isinstance(source.get(key), str):
                out[key] = source[key]
            source.pop(key, None)
        for bound, wide, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            limit = source.get(bound)
            convertible = type(limit) is int and out.get("type") == "integer" and wide not in source
            if convertible and wide in self._subset.keywords:
                source[wide] = source.pop(bound) + step
        for key in [each for each in source if each in self._subset.keywords]:
            out[key] = source.pop(key)
        if isinstance(source.get("format"), str) and source["format"] in self._subset.formats:
            out["format"] = source.pop("format")
        if not source:
            return out
        self.moved = True
        text, size = describe_keywords(source)
        self._budget.spend(size // 100)
        return append_description(out, text)


_KEYWORDS_OF_KIND = {
    "object": frozenset({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "additionalItems"}),
    "string": frozenset({"format", "pattern", "minLength", "maxLength"}),
}


def _for_kind(source: dict[str, Any], kind: str) -> dict[str, Any]:
    """The part of a schema with several types that applies to one type."""
    others = frozenset().union(*[keys for each, keys in _KEYWORDS_OF_KIND.items() if each != kind])
    return {key: value for key, value in source.items() if key not in others}


def _is_complete(schema: dict[str, Any]) -> bool:
    """Whether the schema defines a value rather than only adding a condition."""
    return bool(schema.keys() & {"type", "properties", "$ref", "enum", "const", "items", "anyOf", "oneOf", "allOf"})


def _is_enum_value(value: object, subset: SchemaSubset) -> bool:
    """Whether the vendor supports the value in an enum. Python counts booleans as integers: they are checked apart."""
    return isinstance(value, subset.enum_types) and not (isinstance(value, bool) and bool not in subset.enum_types)


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (type(None), "null"), (list, "array"),
    (dict, "object"),
)  # fmt: skip


def _types_of(values: list[Any]) -> list[str]:
    types = [next(name for kind, name in _NAMES if isinstance(value, kind)) for value in values]
    return list(dict.fromkeys(types))


def _circular(definitions: dict[str, Any]) -> bool:
    """Whether a definition is recursive: definitions without pending references are removed until none is left."""
    targets = {f"#/$defs/{_pointer(name)}": set(_references(each)) for name, each in definitions.items()}
    sources: dict[str, list[str]] = {}
    for ref, others in targets.items():
        for other in others:
            sources.setdefault(other, []).append(ref)
    pending = {ref: len(others & targets.keys()) for ref, others in targets.items()}
    free = [ref for ref, number in pending.items() if not number]
    removed = 0
    while free:
        removed += 1
        for ref in sources.get(free.pop(), ()):
            pending[ref] -= 1
            if not pending[ref]:
                free.append(ref)
    return removed < len(targets)


def _pointer(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _references(value: Any) -> list[str]:
    references: list[str] = []
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            if isinstance(each.get("$ref"), str):
                references.append(each["$ref"])
            todo += each.values()
        elif isinstance(each, list):
            todo += each
    return references
