"""Public reports about JSON schemas that one vendor takes and the next refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import House, house

TEXT = {"type": "string"}
LIMITS = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 5}, "s": {"type": "string", "maxLength": 9}},
    "required": ["n"],
}


def json_schema(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, **more}}


def function(schema: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": schema, **more}}]


def keywords(value: Any) -> set[str]:
    """All keys anywhere within, without the names of properties."""
    if isinstance(value, list):
        return set().union(*map(keywords, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, inner in value.items():
        found |= set().union(*map(keywords, inner.values())) if key in ("properties", "$defs") else keywords(inner)
    return found


@pytest.mark.report(
    "schemas", "Response schemas for Anthropic have only the keywords that it supports; the rest moves to descriptions"
)
def test_answers_by_schema_at_anthropic(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answer = it.chat("a", response_format=json_schema(LIMITS))
        sent = it.last["output_config"]["format"]["schema"]
        assert sent["additionalProperties"] is False
        assert keywords(sent) == {"type", "properties", "required", "additionalProperties", "description"}
        assert "at most 5" in sent["properties"]["n"]["description"]
        assert "at most 9" in sent["properties"]["s"]["description"]
        assert answer.headers["x-gatehouse-dropped-params"] == "response_format.schema"
        it.generate("a", generationConfig={"responseMimeType": "application/json", "responseSchema": {
            "type": "OBJECT", "properties": {"n": {"type": "INTEGER", "minimum": 1, "nullable": True}}}})  # fmt: skip
        assert it.last["output_config"]["format"]["schema"] == {
            "type": "object",
            "properties": {"n": {"type": ["integer", "null"], "description": "At least 1."}},
            "additionalProperties": False,
        }
        it.messages("a", output_config={"format": {"type": "json_schema", "schema": LIMITS}})
        assert it.last["output_config"]["format"]["schema"] == LIMITS


@pytest.mark.report(
    "schemas", "A response schema that Anthropic cannot enforce moves to the system prompt and is reported as dropped"
)
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "additionalProperties": TEXT},
        {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}},
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}},
    ],
)
def test_schemas_without_words_at_anthropic(tmp_path: Path, schema: dict[str, Any]) -> None:
    with house(tmp_path) as it:
        answer = it.chat("a", response_format=json_schema(schema))
        assert "output_config" not in it.last
        assert "JSON schema" in it.last["system"]
        assert next(iter(schema)) in it.last["system"]
        assert answer.headers["x-gatehouse-dropped-params"] == "response_format.schema"


def parameters(it: House, model: str) -> dict[str, Any]:
    tool: dict[str, Any] = it.last["tools"][0]
    if model == "g":
        return tool["functionDeclarations"][0]["parametersJsonSchema"]  # type: ignore[no-any-return]
    return tool["input_schema"] if model == "a" else tool["function"]["parameters"]  # type: ignore[no-any-return]


@pytest.mark.report("schemas", "Tool parameters are an object at the top level for providers that require it")
def test_parameters_are_an_object(tmp_path: Path) -> None:
    either = {
        "type": "object",
        "properties": {"a": TEXT, "b": TEXT},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    union = {"oneOf": [{"properties": {"a": TEXT}, "required": ["a"]}, {"properties": {"b": TEXT}, "required": ["b"]}]}
    with house(tmp_path) as it:
        for schema in (either, union):
            tools = [{"name": "f", "input_schema": schema}]
            asks = {"a": it.chat, "o": it.messages, "g": it.messages}
            for model, ask in asks.items():
                answer = ask(model, tools=function(schema) if ask == it.chat else tools)
                sent = parameters(it, model)
                assert sent["type"] == "object"
                assert sent["properties"] == {"a": TEXT, "b": TEXT}
                assert not sent.keys() & {"anyOf", "oneOf", "required"}
                assert '["a"]' in sent["description"]
                assert answer.headers["x-gatehouse-dropped-params"] == "tools[0].parameters"
            it.messages("a", tools=tools)
            assert it.last["tools"] == tools
        it.chat("a", tools=function({"properties": {"a": TEXT}}))
        assert parameters(it, "a") == {"type": "object", "properties": {"a": TEXT}}
        it.chat("a", tools=[{"type": "function", "function": {"name": "f"}}])
        assert parameters(it, "a") == {"type": "object"}


@pytest.mark.report(
    "schemas", "Schemas for Gemini have only the keywords that it supports; the rest moves to descriptions"
)
def test_schemas_at_gemini(tmp_path: Path) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "kind": {"const": "file"},
            "limit": {"type": "integer", "exclusiveMinimum": 0},
            "name": {"type": ["string", "null"], "minLength": 1},
            "where": {"$ref": "#/definitions/Place", "description": "Where it lies"},
            "any": True,
        },
        "additionalProperties": False,
        "definitions": {"Place": {"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}}}},
    }
    expected = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["file"]},
            "limit": {"type": "integer", "minimum": 1},
            "name": {"type": ["string", "null"], "description": "Length at least 1."},
            "where": {"description": "Where it lies", "anyOf": [{"$ref": "#/$defs/Place"}]},
            "any": {},
        },
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "type": "object",
                "properties": {"id": {"type": "string", "description": 'In the format "uuid".'}},
            }
        },
    }
    with house(tmp_path) as it:
        it.chat("g", tools=function(schema), response_format=json_schema(schema))
        assert parameters(it, "g") == expected
        assert it.last["generationConfig"]["responseJsonSchema"] == expected
        it.messages("g", tools=[{"name": "f", "input_schema": schema}])
        assert parameters(it, "g") == expected
        declared = [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": schema}]}]
        it.generate("g", tools=declared)
        assert it.last["tools"] == declared


@pytest.mark.report(
    "schemas", "A strict tool stays strict where the next provider can enforce it, and is reported as dropped elsewhere"
)
def test_strict_tools(tmp_path: Path) -> None:
    full = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}
    optional = {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}
    with house(tmp_path) as it:
        answer = it.messages("o", tools=[{"name": "f", "input_schema": full, "strict": True}])
        assert it.last["tools"][0]["function"]["strict"] is True
        assert "x-gatehouse-dropped-params" not in answer.headers
        answer = it.messages("o", tools=[{"name": "f", "input_schema": optional, "strict": True}])
        assert "strict" not in it.last["tools"][0]["function"]
        assert parameters(it, "o") == optional
        assert answer.headers["x-gatehouse-dropped-params"] == "tools[0].strict"
        it.chat("a", tools=function(LIMITS, strict=True))
        assert it.last["tools"][0]["strict"] is True
        assert parameters(it, "a")["additionalProperties"] is False
        assert "minimum" not in keywords(parameters(it, "a"))
        answer = it.chat("a", tools=function({"type": "object", "additionalProperties": TEXT}, strict=True))
        assert "strict" not in it.last["tools"][0]
        assert answer.headers["x-gatehouse-dropped-params"] == "tools[0].strict"


@pytest.mark.report("schemas", "A schema that other providers always enforce is strict at OpenAI where possible")
def test_answers_by_schema_at_openai(tmp_path: Path) -> None:
    providers = '  z: {kind: azure, endpoint: "URL", api_version: "2024-10-21", api_key: k}'
    full = {"type": "object", "properties": {"a": TEXT}, "required": ["a"], "additionalProperties": False}
    with house(tmp_path, models="  z: {targets: [z/gpt]}\n", providers=providers) as it:
        it.messages("z", output_config={"format": {"type": "json_schema", "schema": full}})
        assert it.last["response_format"]["json_schema"] == {"name": "answer", "schema": full, "strict": True}
        it.messages("z", output_config={"format": {"type": "json_schema", "schema": LIMITS}})
        assert it.last["response_format"]["json_schema"] == {"name": "answer", "schema": LIMITS}
        answer = it.generate(
            "z", generationConfig={"responseMimeType": "application/json", "responseSchema": {"type": "ARRAY"}}
        )
        assert "response_format" not in it.last
        assert "JSON schema" in it.last["messages"][0]["content"]
        assert answer.headers["x-gatehouse-dropped-params"] == "response_format.schema"
        it.chat("z", response_format=json_schema(LIMITS, strict=False))
        assert it.last["response_format"] == json_schema(LIMITS, strict=False)


@pytest.mark.report("schemas", "Schemas that expand without end are bounded")
def test_schemas_that_never_end(tmp_path: Path) -> None:
    doubling: dict[str, Any] = {"type": "object", "properties": {"p0": TEXT}}
    for number in range(40):
        ref = {"$ref": f"#/properties/p{number}"}
        doubling["properties"][f"p{number + 1}"] = {"type": "object", "properties": {"a": ref, "b": ref}}
    with house(tmp_path) as it:
        for model in "ag":
            answer = it.chat(model, tools=function(doubling, strict=True) * 50, response_format=json_schema(doubling))
            assert answer.status == 200
            assert len(it.upstream.requests[-1].body) < 1_000_000
