"""What is rare in Gemini's dialect: formats of its own, refused prompts, signed words, answers changed midway."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.genai import types as google

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta, Usage
from contract.dialect import InboundCall, WireOptions
from contract.errors import ContentRefused, InvalidRequest, MalformedReply, ServerFault
from contract.messages import ChatRequest, EmbeddingRequest, Embeddings, Image, Message, Text, Tool, ToolResult
from gateway.dialects.gemini_generate import (
    GeminiBatchEmbeddings,
    GeminiEmbeddings,
    GeminiGenerate,
    GeminiSingleEmbedding,
)

DIALECT = GeminiGenerate()
CALL = InboundCall("m")
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
STREAMED = ChatRequest(dialect="gemini", model="m", messages=(Message("user", (Text("hi"),)),), stream=True)
PLAIN = WireOptions("m", stream=False)


def read_request(body: dict[str, Any]) -> ChatRequest:
    return DIALECT.read_request(json.dumps(body).encode(), CALL)


def again(body: dict[str, Any]) -> dict[str, Any]:
    """What goes on to Google."""
    written: dict[str, Any] = json.loads(DIALECT.write_request(read_request(body), PLAIN).body)
    return written


def read_event(response: dict[str, Any]) -> Delta:
    (delta,) = DIALECT.reply_reader(stream=True).feed(b"data: " + json.dumps(response).encode() + b"\r\n\r\n")
    return delta


# ------------------------------------------------------------------ requests


def test_the_sdk_s_base64_is_read_as_everyone_s() -> None:
    picture = b"\xfb\xff\xfe"
    part = google.Part(inline_data=google.Blob(data=picture, mime_type="image/png"))
    wire = part.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert wire["inlineData"]["data"] == "-__-"
    (image,) = read_request({"contents": [{"parts": [wire]}]}).messages[0].parts
    assert isinstance(image, Image)
    assert base64.b64decode(image.data, validate=True) == picture


@pytest.mark.parametrize(
    "config",
    [
        {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
        {"thinkingConfig": {"thinkingBudget": 5, "brandNew": 1}},
        {"thinkingConfig": {"thinkingLevel": "MINIMAL"}},
        {"thinkingConfig": {"thinkingLevel": "XHIGH"}},
    ],
)
def test_what_only_google_has_reaches_google(config: dict[str, Any]) -> None:
    assert again({"contents": HI, "generationConfig": config})["generationConfig"] == config


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "image/png", "data": "QUJD", "displayName": "a"}, "mediaResolution": {"x": 1}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a", "displayName": "b"}, "videoMetadata": {"fps": 1}},
        {"functionCall": {"id": "x", "name": "f", "args": {}, "willContinue": True}, "thoughtSignature": "c2ln"},
        {"functionResponse": {"id": "x", "name": "f", "response": {"a": 1}, "scheduling": "SILENT"}},
        {"text": "a", "thoughtSignature": "c2ln"},
        {"toolCall": {"id": "x"}},
    ],
)  # fmt: skip
def test_every_field_of_a_part_survives(part: dict[str, Any]) -> None:
    content = {"role": "user", "parts": [part], "brandNew": 1}
    assert again({"contents": [content]})["contents"] == [content]


def test_unknown_settings_of_function_calling_survive() -> None:
    config = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"], "streamFunctionCallArguments": 1}}
    assert again({"contents": HI, "toolConfig": config})["toolConfig"] == config


def test_a_response_without_a_name_has_its_call_s() -> None:
    call = {"functionCall": {"id": "x", "name": "f"}}
    nameless = {"functionResponse": {"id": "x", "response": {"output": "a"}}}
    contents: list[dict[str, Any]] = [{"role": "model", "parts": [call]}, {"parts": [nameless]}]
    (result,) = read_request({"contents": contents}).messages[1].parts
    assert isinstance(result, ToolResult)
    assert result.name == "f"
    with pytest.raises(InvalidRequest) as refused:
        read_request({"contents": [{"parts": [nameless]}]})
    assert refused.value.param == "contents[0].parts[0].functionResponse.name"


def test_a_made_id_is_never_one_that_is_taken() -> None:
    parts = [{"functionCall": {"id": "call_0", "name": "f"}}, {"functionCall": {"name": "f"}}]
    found = read_request({"contents": [{"role": "model", "parts": parts}]}).messages[0].parts
    assert [getattr(part, "id", "") for part in found] == ["call_0", "call_1"]


def test_schemas_in_snake_case_with_an_order_and_null_among_the_enum() -> None:
    parameters = {
        "type": "OBJECT",
        "property_ordering": ["b_c", "a"],
        "properties": {"a": {"type": "TYPE_UNSPECIFIED"}, "b_c": {"type": "STRING", "nullable": True, "enum": ["x"]}},
    }
    tools = [{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]
    (tool,) = read_request({"contents": HI, "tools": tools}).tools
    assert isinstance(tool, Tool)
    assert tool.parameters == {
        "type": "object",
        "properties": {"b_c": {"type": ["string", "null"], "enum": ["x", None]}, "a": {}},
    }
    assert list(tool.parameters["properties"]) == ["b_c", "a"]


# ------------------------------------------------------------------ replies


def test_a_refused_prompt_with_an_empty_list_of_candidates_is_a_refusal() -> None:
    with pytest.raises(ContentRefused):
        read_event({"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}})


def test_the_signature_of_words_stays_with_them() -> None:
    part = {"text": "a", "thoughtSignature": "c2ln"}
    delta = read_event({"candidates": [{"content": {"parts": [part]}}]})
    assert delta.choices == (ChoiceDelta(text="a", signature="c2ln", signed_by="gemini"),)
    writer = DIALECT.reply_writer(STREAMED, reply_id="r", raw=False)
    frames = writer.feed([delta]).split(b"\r\n\r\n")[:-1]
    assert [json.loads(frame[6:])["candidates"][0]["content"]["parts"] for frame in frames] == [[part]]


@pytest.mark.parametrize("part", [{"text": 3}, {"functionCall": {"name": 3}}, {"text": "", "thoughtSignature": 3}])
def test_parts_of_the_wrong_type_are_malformed(part: dict[str, Any]) -> None:
    with pytest.raises(MalformedReply):
        read_event({"candidates": [{"content": {"parts": [part]}}]})


def test_an_index_of_the_wrong_type_is_malformed() -> None:
    with pytest.raises(MalformedReply):
        read_event({"candidates": [{"index": "a", "content": {"parts": [{"text": "x"}]}}]})


def test_an_error_nested_too_deeply_is_an_error_all_the_same() -> None:
    assert type(DIALECT.read_error(500, {}, b"[" * 100_000)) is ServerFault


def test_a_delta_changed_on_its_way_is_written_among_raw_ones() -> None:
    writer = DIALECT.reply_writer(STREAMED, reply_id="r", raw=True)
    raw = Delta((ChoiceDelta(text="a"),), raw=b'{"candidates":[]}')
    changed = Delta((ChoiceDelta(text="b", finish="stop"),), Usage(1, 1), id="r", model="m")
    frames = (writer.feed([raw, changed]) + writer.finish()).split(b"\r\n\r\n")[:-1]
    assert frames[0] == b'data: {"candidates":[]}'
    responses = [google.GenerateContentResponse.model_validate_json(frame[6:]) for frame in frames[1:]]
    assert responses[0].text == "b"
    assert responses[-1].candidates is not None
    assert responses[-1].candidates[0].finish_reason == google.FinishReason.STOP


@pytest.mark.guarantee("truth", "Gemini's dialect holds a finish reason back until the response is complete")
def test_a_raw_finish_reason_waits_for_the_end_of_the_reply() -> None:
    def raw(number: int, index: int, text: str, finish: FinishReason = "") -> Delta:
        return Delta((ChoiceDelta(index, text, finish=finish),), raw=b"%d" % number)

    deltas = [raw(0, 0, "a"), raw(1, 0, "b", "stop"), raw(2, 1, "c"), raw(3, 0, ""), Delta(raw=b"4")]
    ends = DIALECT.reply_writer(STREAMED, reply_id="r", raw=True)
    # The other candidate's words don't wait.
    assert ends.feed(deltas) == b"data: 0\r\n\r\ndata: 2\r\n\r\n"
    assert ends.finish() == b"data: 1\r\n\r\ndata: 3\r\n\r\ndata: 4\r\n\r\n"
    breaks = DIALECT.reply_writer(STREAMED, reply_id="r", raw=True)
    breaks.feed(deltas)
    assert b"data: 1" not in breaks.fail(ServerFault("x"), "req")


def test_a_call_that_is_complete_goes_out_when_the_next_begins() -> None:
    writer = DIALECT.reply_writer(STREAMED, reply_id="r", raw=False)
    first = ChoiceDelta(tool_calls=(ToolCallDelta(0, "a", "f", '{"x":'),))
    assert writer.feed([Delta((first,))]) == b""
    assert writer.feed([Delta((ChoiceDelta(tool_calls=(ToolCallDelta(0, arguments="1}"),)),))]) == b""
    assert b'"args":{"x":1}' in writer.feed([Delta((ChoiceDelta(tool_calls=(ToolCallDelta(1, "b", "g"),)),))])
    # A late piece without a word is no further call.
    assert writer.feed([Delta((ChoiceDelta(tool_calls=(ToolCallDelta(0),)),))]) == b""
    end = writer.finish()
    assert b'"name":"g"' in end
    assert end.count(b"functionCall") == 1


# ------------------------------------------------------------------ embeddings


def test_embeddings_on_the_provider_s_side() -> None:
    asked = EmbeddingRequest(
        dialect="gemini", model="m", texts=("a", "b"), dimensions=2, extra={"taskType": "RETRIEVAL_QUERY"}
    )
    wire = GeminiEmbeddings().write_embed_request(asked, WireOptions("e", stream=False))
    assert wire.path == "/v1beta/models/e:batchEmbedContents"
    assert GeminiBatchEmbeddings("m").read_request(wire.body) == asked
    reply = b'{"embeddings": [{"values": [1, 0]}, {"values": [0, 1]}], "usageMetadata": {"promptTokenCount": 4}}'
    assert GeminiEmbeddings().read_embed_reply(reply) == Embeddings([[1, 0], [0, 1]], "", 4)
    for body in (b"<html>", b"{}", b'{"embeddings": [3]}'):
        with pytest.raises(MalformedReply):
            GeminiEmbeddings().read_embed_reply(body)


def test_embeddings_on_the_caller_s_side() -> None:
    single = GeminiSingleEmbedding("m")
    asked = single.read_request(b'{"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "output_dimensionality": 2}')
    assert (asked.model, asked.texts, asked.dimensions) == ("m", ("ab",), 2)
    answer = Embeddings([[1.0, 0.0]], "m")
    assert json.loads(single.write_reply(asked, answer)) == {"embedding": {"values": [1, 0]}}
    batch = GeminiBatchEmbeddings("m").write_reply(asked, answer)
    assert google.EmbedContentResponse.model_validate_json(batch).embeddings == [
        google.ContentEmbedding(values=[1.0, 0.0])
    ]


@pytest.mark.parametrize(
    ("requests", "param"),
    [
        ([], "requests"),
        ([{}], "requests[0].content"),
        ([{"content": {"parts": [{"inlineData": {}}]}}], "requests[0].content.parts[].text"),
        ([{"content": "a", "taskType": "X"}, {"content": "b", "taskType": "Y"}], "requests[1]"),
    ],
)
def test_embedding_requests_that_are_wrong(requests: list[Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        GeminiBatchEmbeddings("m").read_request(json.dumps({"requests": requests}).encode())
    assert refused.value.param == param
