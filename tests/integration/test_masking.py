"""Masking through HTTP beyond a single request: conversations by name, names in parts, disguises, definitions."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Gateway, running_gateway
from tests.recording import Recording
from tests.services import RedisServer, redis_server

YAML = """
version: 1
server: {{redis: "{redis}"}}
providers:
  up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: upstream-key}}
models:
  plain: {{targets: [up/m]}}
  masked: {{pipeline: masked}}
  lenient: {{pipeline: lenient}}
guardrails:
  pii: {{kind: personal_data, key: "a key of tests"}}
  open: {{kind: personal_data, key: "a key of tests", on_error: open}}
pipelines:
  masked: {{guard_input: [pii], model: plain}}
  lenient: {{guard_input: [open], model: plain}}
apps:
  one: {{keys: [test-key]}}
  two: {{keys: [other-key]}}
observe: {{log: "off"}}
"""
MAIL = "jane.doe@example.org"


@pytest.fixture(scope="module", params=["memory", "redis"])
def gateways(
    request: pytest.FixtureRequest, recorder: Recording, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gateway, Gateway]]:
    """One gateway, and the one that may get the next turn: a replica where Redis is shared."""
    yaml = YAML.format(port=recorder.port, redis=redis.url if request.param == "redis" else "")
    folder = tmp_path_factory.mktemp("masking")
    with running_gateway(yaml, folder) as first:
        if request.param == "memory":
            yield first, first
            return
        with running_gateway(yaml, folder) as second:
            yield first, second


def say(gateway: Gateway, text: str, conversation: str = "", key: str = "test-key", **more: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"}
    if conversation:
        headers["x-gatehouse-conversation"] = conversation
    body = {"model": "masked", "messages": [{"role": "user", "content": text}], **more}
    return gateway.request("POST", "/v1/chat/completions", body, headers)


def words(answer: Any) -> str:
    assert answer.status == 200, answer.body
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def test_a_tag_of_an_earlier_turn_is_undone_in_a_later_one(
    gateways: tuple[Gateway, Gateway], upstream: Recording
) -> None:
    first, second = gateways
    said = words(say(first, f"My mail is {MAIL}, remember it.", "conv-1"))
    tag = re.findall(r"<EMAIL_\w+>", upstream.seen)[0]
    assert MAIL in said
    upstream.answers += [lambda _: f"It was {tag}."] * 3
    assert words(say(second, "Which mail did I give you?", "conv-1")) == f"It was {MAIL}."
    assert MAIL not in upstream.seen
    # Nobody else can have it: another conversation, another app, no conversation.
    assert words(say(second, "Which mail did I give you?", "conv-2")) == f"It was {tag}."
    assert words(say(second, "Which mail did I give you?", "conv-1", key="other-key")) == f"It was {tag}."
    assert words(say(second, f"And {MAIL}?", "conv-1")) == f"And {MAIL}?"
    assert tag in json.dumps(upstream.bodies[-1])


def test_a_bad_name_for_a_conversation_is_refused(gateways: tuple[Gateway, Gateway]) -> None:
    answer = say(gateways[0], "Hello", "a b")
    assert answer.status == 400
    assert b"x-gatehouse-conversation" in answer.body


def test_without_its_store_a_conversation_is_refused_or_goes_on_as_declared(
    upstream: Recording, tmp_path: Path
) -> None:
    with redis_server(tmp_path) as server:
        yaml = YAML.format(port=upstream.port, redis=server.url)
        with running_gateway(yaml, tmp_path) as gateway:
            assert MAIL in words(say(gateway, MAIL, "conv"))
            for fault in (server.stall, server.stop):
                fault()
                answer = say(gateway, MAIL, "conv")
                assert answer.status == 503
                assert b"guardrail_unavailable" in answer.body
                assert words(say(gateway, f"Write {MAIL}", "conv", model="lenient")) == f"Write {MAIL}"
                assert words(say(gateway, f"Write {MAIL}")) == f"Write {MAIL}"
            assert MAIL not in upstream.seen
            server.start()
            assert MAIL in words(say(gateway, MAIL, "conv"))


def test_parts_of_a_name_are_masked_where_the_whole_name_stands(
    gateways: tuple[Gateway, Gateway], upstream: Recording
) -> None:
    text = "My name is Katharina Hoffmann. Please write a letter to the bank in which Hoffmann asks for a loan."
    assert words(say(gateways[0], text)) == text
    assert "Hoffmann" not in upstream.seen


@pytest.mark.parametrize(
    "hidden",
    [
        "ja\u200bne.doe@exa\u00admple.org",
        "\uff4a\uff41\uff4e\uff45.\uff44\uff4f\uff45\uff20\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.\uff4f\uff52\uff47",
        base64.b64encode(b"write to jane.doe@example.org").decode(),
        b"write to jane.doe@example.org".hex(),
        "jane.doe%40example.org",
        "\uff14\uff11\uff11\uff11 \uff11\uff11\uff11\uff11 \uff11\uff11\uff11\uff11 \uff11\uff11\uff11\uff11",
    ],
)
def test_disguised_values_are_masked(gateways: tuple[Gateway, Gateway], upstream: Recording, hidden: str) -> None:
    text = f"Look at this: {hidden} and go on"
    assert words(say(gateways[0], text)) == text
    assert hidden not in upstream.seen


def test_definitions_of_tools_and_formats_are_masked(gateways: tuple[Gateway, Gateway], upstream: Recording) -> None:
    parameters = {
        "type": "object",
        "properties": {"to": {"type": "string", "description": f"Such as {MAIL}", "enum": [MAIL, "nobody"]}},
    }
    tool = {
        "type": "function",
        "function": {"name": "send", "description": f"Writes to {MAIL}", "parameters": parameters},
    }
    form = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object", "description": MAIL}}}
    assert say(gateways[0], "Hello", tools=[tool], response_format=form).status == 200
    assert MAIL not in upstream.seen
    assert len(re.findall(r"<EMAIL_\w+>", upstream.seen)) >= 4


def test_documents_of_text_stops_and_odd_keys_are_masked(
    gateways: tuple[Gateway, Gateway], upstream: Recording
) -> None:
    data = base64.b64encode(f"Write to {MAIL}".encode()).decode()
    file = {"filename": f"{MAIL}.txt", "file_data": f"data:text/plain;base64,{data}"}
    content = [{"type": "file", "file": file}, {"type": "text", "text": "Sum it up."}]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}], "stop": [MAIL]}
    body["metadata"] = {MAIL: MAIL}
    assert say(gateways[0], "", **body).status == 200
    assert MAIL not in upstream.seen
    assert data not in upstream.seen
    sent = upstream.bodies[-1]
    assert re.fullmatch(r"<EMAIL_\w+>", sent["stop"][0])
    got = base64.b64decode(sent["messages"][-1]["content"][0]["file"]["file_data"].partition(",")[2]).decode()
    assert re.fullmatch(r"Write to <EMAIL_\w+>", got)


def test_arguments_of_earlier_calls_keep_their_odd_keys_masked(
    gateways: tuple[Gateway, Gateway], upstream: Recording
) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({MAIL: 1, "to": "x"})}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    assert say(gateways[0], "", messages=messages).status == 200
    assert MAIL not in upstream.seen
