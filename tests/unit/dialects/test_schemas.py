"""JSON schemas fitted to vendors who take only some of them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from anthropic.lib._parse._transform import transform_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.anthropic import schemas as anthropic
from gateway.dialects.gemini_generate import schemas as gemini
from gateway.dialects.openai_chat import schemas as openai
from gateway.dialects.schema_descriptions import MAX_DESCRIPTION_CHARS
from gateway.dialects.schemas import Budget, Inexpressible, MemoizedFit
from gateway.dialects.tool_schemas import as_2020_12, to_object_schema

quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
TEXT = {"type": "string"}


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


ANTHROPIC: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "object", "properties": {"a": TEXT}}, closed(a=TEXT)),
    (
        closed(n={"type": "integer", "minimum": 1, "maximum": 5, "description": "How many"}),
        closed(n={"type": "integer", "description": "How many\n\nAt least 1, at most 5."}),
    ),
    (
        closed(t={"type": "string", "maxLength": 9, "pattern": "^a", "format": "iri"}),
        closed(
            t={
                "type": "string",
                "description": 'Length at most 9, matches the regular expression "^a", in the format "iri".',
            }
        ),
    ),
    (closed(t={"type": "string", "format": "date"}), closed(t={"type": "string", "format": "date"})),
    (
        closed(l={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 3}),
        closed(l={"type": "array", "items": TEXT, "minItems": 1, "description": "At most 3 items."}),
    ),
    (
        closed(l={"type": "array", "items": TEXT, "minItems": 2}),
        closed(l={"type": "array", "items": TEXT, "description": "At least 2 items."}),
    ),
    (closed(x={"oneOf": [TEXT, {"type": "null"}]}), closed(x={"anyOf": [TEXT, {"type": "null"}]})),
    (closed(x={"type": ["string", "null"]}), closed(x={"type": ["string", "null"]})),
    (
        closed(x={"type": ["array", "null"], "items": TEXT, "description": "d"}),
        closed(x={"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}], "description": "d"}),
    ),
    (closed(x={"type": "string", "enum": ["a", None]}), closed(x={"enum": ["a", None]})),
    (closed(x={"const": 3}), closed(x={"const": 3})),
    (closed(x=False, y=TEXT), closed(y=TEXT)),
    (
        {
            "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": TEXT}, "required": ["b"]}],
            "$defs": {"A": closed(a=TEXT)},
        },
        {**closed(a=TEXT, b=TEXT), "required": ["b"]},
    ),
    (
        {"$ref": "#/definitions/A", "definitions": {"A": closed(a=TEXT), "Unused": {"type": "string"}}},
        {"$ref": "#/$defs/A", "$defs": {"A": closed(a=TEXT)}},
    ),
    (
        closed(a={"$ref": "#/properties/b"}, b={"type": "integer"}),
        closed(a={"type": "integer"}, b={"type": "integer"}),
    ),
    ({"properties": {"a": TEXT}, "required": ["a", "ghost"], "$schema": "x"}, {**closed(a=TEXT), "required": ["a"]}),
    (
        closed(p={"type": "array", "prefixItems": [TEXT, {"type": "integer"}]}),
        closed(
            p={
                "type": "array",
                "items": {"anyOf": [TEXT, {"type": "integer"}]},
                "description": 'The items in order are [{"type":"string"},{"type":"integer"}].',
            }
        ),
    ),
    (
        {**closed(a=TEXT, b=TEXT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {**closed(a=TEXT, b=TEXT), "description": 'AnyOf: [{"required":["a"]},{"required":["b"]}].'},
    ),
]


@pytest.mark.parametrize(("schema", "written"), ANTHROPIC)
def test_a_schema_that_anthropic_holds_answers_to(schema: dict[str, Any], written: dict[str, Any]) -> None:
    before = json.dumps(schema)
    assert anthropic.strict_schema(schema)[0] == written
    assert json.dumps(schema) == before
    assert anthropic.strict_schema(written)[0] == written


NODE: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/N", "$defs": {"N": NODE}},
        {"type": "object", "properties": {"child": {"$ref": "#"}}},
        {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object"},
        {"type": "object", "properties": {"anything": {}}},
        {"type": "object", "properties": {"anything": True}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}},
        {"allOf": [{"properties": {"a": TEXT}}, {"properties": {"a": {"type": "integer"}}}]},
        {},
    ],
)
def test_a_schema_that_means_more_than_anthropic_can_say(schema: dict[str, Any]) -> None:
    with pytest.raises(Inexpressible):
        anthropic.strict_schema(schema)


GEMINI: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "object", "additionalProperties": TEXT}, {"type": "object", "additionalProperties": TEXT}),
    ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
    ({"const": 3}, {"type": "number", "enum": [3]}),
    ({"const": True}, {"type": "boolean", "description": "Exactly true."}),
    ({"type": "integer", "exclusiveMinimum": 0, "maximum": 9}, {"type": "integer", "minimum": 1, "maximum": 9}),
    ({"type": "number", "exclusiveMaximum": 2.5}, {"type": "number", "description": "Less than 2.5."}),
    ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
    (
        {"type": ["string", "null"], "enum": ["a", None]},
        {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
    ),
    ({"type": "string", "format": "uuid"}, {"type": "string", "description": 'In the format "uuid".'}),
    ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
    ({"oneOf": [TEXT, {"type": "integer"}]}, {"anyOf": [TEXT, {"type": "integer"}]}),
    (
        {"properties": {"a": {"$ref": "#/$defs/A", "description": "d"}}, "$defs": {"A": TEXT}},
        {
            "type": "object",
            "properties": {"a": {"description": "d", "anyOf": [{"$ref": "#/$defs/A"}]}},
            "$defs": {"A": TEXT},
        },
    ),
    ({"$ref": "#/$defs/N", "$defs": {"N": NODE}}, {"$ref": "#/$defs/N", "$defs": {"N": NODE}}),
    ({"type": "object", "properties": {"a": True, "b": False}}, {"type": "object", "properties": {"a": {}}}),
    ({"type": "array", "items": [TEXT, TEXT]}, {"type": "array", "prefixItems": [TEXT, TEXT]}),
    ({"type": "string", "default": "x", "$schema": "y"}, {"type": "string", "description": '"x" by default.'}),
]


@pytest.mark.parametrize(("schema", "written"), GEMINI)
def test_a_schema_that_gemini_reads(schema: dict[str, Any], written: dict[str, Any]) -> None:
    assert gemini.response_schema(schema)[0] == written
    assert gemini.response_schema(written)[0] == written


TOP: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"type": "object"}),
    ({"properties": {"a": TEXT}}, {"type": "object", "properties": {"a": TEXT}}),
    ({"type": ["object", "null"]}, {"type": "object"}),
    (
        {"allOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}}]},
        {"type": "object", "properties": {"a": TEXT, "b": TEXT}, "required": ["a"]},
    ),
    (
        {
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        },
        {
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "description": 'AnyOf: [{"required":["a"]},{"required":["b"]}].',
        },
    ),
    (
        {
            "oneOf": [
                {"type": "object", "properties": {"k": {"const": 1}, "a": TEXT}, "required": ["k", "a"]},
                {"$ref": "#/$defs/Two"},
            ],
            "$defs": {"Two": {"type": "object", "properties": {"k": {"const": 2}}, "required": ["k"]}},
        },
        {
            "type": "object",
            "properties": {"k": {"anyOf": [{"const": 1}, {"const": 2}]}, "a": TEXT},
            "required": ["k"],
            "$defs": {"Two": {"type": "object", "properties": {"k": {"const": 2}}, "required": ["k"]}},
            "description": 'OneOf: [{"required":["k","a"]},{"required":["k"]}].',
        },
    ),
    (
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": TEXT}}}},
        {
            "type": "object",
            "properties": {"a": TEXT},
            "$defs": {"A": {"type": "object", "properties": {"a": TEXT}}},
        },
    ),
]


@pytest.mark.parametrize(("schema", "written"), TOP)
def test_the_parameters_of_a_tool_are_an_object(schema: dict[str, Any], written: dict[str, Any]) -> None:
    assert to_object_schema(schema, Budget())[0] == written


def test_older_drafts_are_written_in_todays_words() -> None:
    old = {
        "type": "object",
        "properties": {
            "pair": {"type": "array", "items": [TEXT, TEXT], "additionalItems": False},
            "n": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "required": True},
            "m": {"type": "number", "maximum": 9, "exclusiveMaximum": False},
        },
    }
    new = as_2020_12(old, Budget())
    assert new["properties"] == {
        "pair": {"type": "array", "prefixItems": [TEXT, TEXT], "items": False},
        "n": {"type": "number", "exclusiveMinimum": 0},
        "m": {"type": "number", "maximum": 9},
    }
    jsonschema.Draft202012Validator.check_schema(new)


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({**closed(a=TEXT), "required": ["a"]}, True),
        ({"type": "object", "properties": {"a": TEXT}, "required": ["a"]}, True),
        (closed(a=TEXT), False),
        ({**closed(a={"type": "object"}), "required": ["a"]}, False),
        ({**closed(a={"type": "string", "maxLength": 3}), "required": ["a"]}, False),
        ({**closed(a={"$ref": "#/$defs/A"}), "required": ["a"], "$defs": {"A": TEXT}}, True),
        ({**closed(a={"$ref": "#/$defs/A"}), "required": ["a"], "$defs": {"A": closed(b=TEXT)}}, False),
        ({**closed(a={"type": "array", "items": closed(b=TEXT)}), "required": ["a"]}, False),
        ({"anyOf": [TEXT]}, False),
        ({"type": "array", "items": TEXT}, False),
    ],
)
def test_what_openai_is_strict_about(schema: dict[str, Any], strict: bool) -> None:
    found = openai.strict(schema)
    assert (found is not None) == strict
    if found is not None:
        assert found["additionalProperties"] is False


scalars = st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda kind: {"type": kind})
simple = st.recursive(
    scalars,
    lambda inner: (
        st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(
            lambda properties, names: {"type": "object", "properties": properties, "required": sorted(names)},
            st.dictionaries(st.sampled_from("abc"), inner, min_size=1),
            st.sets(st.sampled_from("abc")),
        )
        | st.builds(lambda many: {"anyOf": many}, st.lists(inner, min_size=1, max_size=3))
    ),
    max_leaves=8,
)


@quick
@given(simple)
def test_the_structure_is_that_of_the_vendors_own_sdk(schema: dict[str, Any]) -> None:
    written, said = anthropic.strict_schema(schema)
    expected = transform_schema(schema)
    assert _without_missing(written) == _without_missing(expected)
    assert not said


def _without_missing(value: Any) -> Any:
    """Without names that are required and not there, which the SDK keeps."""
    if isinstance(value, list):
        return [_without_missing(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _without_missing(each) for key, each in value.items()}
    if isinstance(found.get("required"), list) and isinstance(found.get("properties"), dict):
        found["required"] = [name for name in found["required"] if name in found["properties"]]
        if not found["required"]:
            del found["required"]
    return found


keywords = st.sampled_from(
    [
        "type", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "$defs", "definitions",
        "required", "additionalProperties", "prefixItems", "minimum", "exclusiveMinimum", "format", "nullable",
        "description", "default", "not", "pattern", "minItems", "title",
    ]
)  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["object", "array", "string", "a", "#", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keywords, inner, max_size=4)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=25,
)
ALLOWED = {
    "type", "properties", "items", "anyOf", "enum", "const", "$ref", "$defs", "required", "additionalProperties",
    "description", "title", "format", "minItems",
}  # fmt: skip


@quick
@given(st.dictionaries(keywords, values, max_size=6))
def test_no_schema_breaks_the_gateway(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    for fit in (anthropic.tool_schema, gemini.tool_schema, openai.tool_schema):
        written, _ = fit(schema)
        json.dumps(written)
        assert written.get("type") == schema.get("type") or written["type"] == "object" or "$ref" in written
    openai.strict(schema)
    try:
        written, _ = anthropic.strict_schema(schema)
    except Inexpressible:
        return
    finally:
        assert json.dumps(schema) == before
    _check_keywords(written)


def _check_keywords(schema: dict[str, Any]) -> None:
    assert schema.keys() <= ALLOWED
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
    for each in [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", [])]:
        _check_keywords(each)
    if "items" in schema:
        _check_keywords(schema["items"])


def test_walks_are_bounded() -> None:
    deep: dict[str, Any] = TEXT
    for _ in range(95):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(Inexpressible):
        anthropic.strict_schema(deep)
    assert gemini.tool_schema(deep)[0]["type"] == "object"
    # Each doubles the one before.
    doubling: dict[str, Any] = {"properties": {"p0": TEXT}}
    for number in range(60):
        ref = {"$ref": f"#/properties/p{number}"}
        doubling["properties"][f"p{number + 1}"] = {"type": "object", "properties": {"a": ref, "b": ref}}
    for fit in (anthropic.strict_schema, gemini.response_schema):
        with pytest.raises(Inexpressible):
            fit(doubling)
    merging = {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}
    with pytest.raises(Inexpressible):
        anthropic.strict_schema(merging)
    to_object_schema(merging, Budget())
    halves = {f"p{n}": {"allOf": [{"$ref": f"#/$defs/p{n + 1}"}] * 2} for n in range(50)}
    for fit in (anthropic.strict_schema, gemini.response_schema, anthropic.tool_schema):
        with contextlib.suppress(Inexpressible):
            fit({"allOf": [{"$ref": "#/$defs/p0"}], "$defs": {**halves, "p50": closed(a=TEXT)}})
    chain: dict[str, Any] = {f"d{n}": closed(a={"$ref": f"#/$defs/d{n + 1}"}) for n in range(3000)}
    chained = {"$ref": "#/$defs/d0", "$defs": {**chain, "d3000": closed(a=TEXT)}}
    assert len(anthropic.strict_schema(chained)[0]["$defs"]) == 3001
    long = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x" * 100_000}}}
    words = anthropic.strict_schema(long)[0]["properties"]["a"]["description"]
    assert len(words) < MAX_DESCRIPTION_CHARS + 10


def test_what_is_kept_is_bounded() -> None:
    made = []

    @MemoizedFit
    def fit(schema: dict[str, Any], budget: Budget) -> dict[str, Any]:
        made.append(schema)
        return {**schema, "fitted": True}

    for number in range(300):
        fit({"number": number, "description": "x" * 30_000})
    assert len(made) == 300
    fit({"number": 299, "description": "x" * 30_000})
    assert len(made) == 300
    fit({"number": 0, "description": "x" * 30_000})
    assert len(made) == 301
    for _ in range(2):
        assert fit({"description": "x" * 100_000})["fitted"]
    assert len(made) == 303
