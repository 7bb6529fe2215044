"""However the bytes are cut, the same text comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.simulator.answers import split_words
from gateway.simulator.behaviours import WORDS, parse
from gateway.simulator.schemas import fit
from gateway.simulator.server import Simulator, running
from tests.unit.simulator.raw import call, connect, receive, said

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@few
@given(dialect=st.sampled_from(["openai", "anthropic", "gemini"]), count=st.integers(1, 25))
def test_any_split_gives_the_same_text(simulator: Simulator, dialect: str, count: int) -> None:
    burst = call(simulator.url, dialect, f"n{count}-burst", True)
    pieces = call(simulator.url, dialect, f"n{count}", True)
    single = call(simulator.url, dialect, f"n{count}-bytes1", True)
    expected = " ".join(f"word{number}" for number in range(count))
    assert {said(dialect, raw) for raw in (burst, pieces, single)} == {expected}
    assert len(burst.frames()) == len(pieces.frames()) == len(single.frames())


@few
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60), dialect=st.sampled_from(["openai", "anthropic", "gemini"])
)
def test_echo_is_exact(simulator: Simulator, dialect: str, text: str) -> None:
    question: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if dialect == "gemini":
        question = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    raw = call(simulator.url, dialect, "echo-burst", True, more=question)
    assert said(dialect, raw) == text


@few
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8), chunked=st.booleans())
def test_any_split_of_a_request_is_read(simulator: Simulator, sizes: list[int], chunked: bool) -> None:
    body = json.dumps({"model": "sim-echo", "messages": [{"role": "user", "content": "Grüße"}]}).encode()
    framing = f"content-length: {len(body)}"
    if chunked:
        framing = "transfer-encoding: chunked"
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in pieces_of(body, sizes)) + b"0\r\n\r\n"
    request = f"POST /v1/chat/completions HTTP/1.1\r\nhost: sim\r\n{framing}\r\n\r\n".encode() + body
    with connect(simulator.url) as connection:
        for part in pieces_of(request, sizes):
            connection.sendall(part)
        raw = receive(connection)
    assert raw.json()["choices"][0]["message"]["content"] == "Grüße"


def pieces_of(data: bytes, sizes: list[int]) -> list[bytes]:
    found: list[bytes] = []
    while data:
        size = sizes[len(found) % len(sizes)]
        found.append(data[:size])
        data = data[size:]
    return found


@given(st.text())
def test_words_join_to_the_text(text: str) -> None:
    assert "".join(split_words(text)) == text


@given(
    st.lists(st.tuples(st.sampled_from(sorted(set(WORDS) - {"400"})), st.integers(0, 10_000)), min_size=1, max_size=5)
)
def test_words_are_read_back(chosen: list[tuple[str, int]]) -> None:
    behaviour = parse("-".join(word.replace("#", str(number)) for word, number in chosen))
    for word, number in dict(chosen).items():
        assert behaviour.has(word.rstrip("#"))
        if word.endswith("#"):
            assert behaviour.number(word.rstrip("#")) == number


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    leaves = st.one_of(
        st.just({"type": "string"}),
        st.builds(lambda low: {"type": "string", "minLength": low}, st.integers(0, 12)),
        st.builds(lambda low: {"type": "integer", "minimum": low, "maximum": low + 3}, st.integers(-50, 50)),
        st.just({"type": "number"}),
        st.just({"type": "boolean"}),
        st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=5), min_size=1, max_size=3)),
    )

    def grow(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        names = st.dictionaries(st.text(max_size=5), inner, max_size=3)
        return st.one_of(
            st.builds(lambda items, low: {"type": "array", "items": items, "minItems": low}, inner, st.integers(0, 3)),
            st.builds(lambda each: {"type": "object", "properties": each, "required": list(each)}, names),
            st.builds(lambda first, second: {"anyOf": [first, second]}, inner, inner),
        )

    return st.recursive(leaves, grow, max_leaves=8)


def fits(value: Any, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    kind = schema["type"]
    if kind == "object":
        properties = schema["properties"]
        return (
            isinstance(value, dict)
            and set(value) == set(properties)
            and all(fits(value[name], each) for name, each in properties.items())
        )
    if kind == "array":
        enough = isinstance(value, list) and len(value) >= schema["minItems"]
        return enough and all(fits(each, schema["items"]) for each in value)
    if kind == "string":
        return isinstance(value, str) and len(value) >= schema.get("minLength", 0)
    if kind == "boolean":
        return isinstance(value, bool)
    bounds = schema.get("minimum", value), schema.get("maximum", value)
    return isinstance(value, int if kind == "integer" else float) and bool(bounds[0] <= value <= bounds[1])


@given(schemas())
def test_generated_json_fits(schema: dict[str, Any]) -> None:
    assert fits(fit(schema), schema)


def test_schemas_that_contain_themselves() -> None:
    node = {"type": "object", "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}}}
    value = fit({"$ref": "#/$defs/Node", "$defs": {"Node": {**node, "required": ["name"]}}})
    assert value["next"]["name"] == "text"
    assert fit({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"type": "BOOLEAN"}}}]}) == {
        "a": 1,
        "b": True,
    }
