"""What clients in their default mode send and expect: coding agents, SDKs and frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reports.vendors import house, user

LIMITED = """
apps:
  test: {keys: [test-key], models: [o]}
  small: {keys: [small-key], limits: {requests: 1 per hour}}
"""


@pytest.mark.report("clients", "An error that a retry cannot fix has `x-should-retry: false`, on every surface")
def test_a_client_is_told_when_retrying_is_no_use(tmp_path: Path) -> None:
    wrong = {"authorization": "Bearer wrong"}
    with house(tmp_path, more=LIMITED) as it:
        for answer, status in (
            (it.chat("o", headers=wrong), 401),
            (it.messages("o", headers=wrong), 401),
            (it.messages("o", headers=wrong, stream=True), 401),
            (it.generate("o", headers=wrong), 401),
            (it.gateway.request("GET", "/v1/models", headers=wrong), 401),
            (it.messages("a"), 404),
            (it.chat("o", temperature="warm"), 400),
            (it.gateway.request("POST", "/v1/responses", {"model": "o"}), 404),
        ):
            assert answer.status == status
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.report("clients", "A caller over its rate limit gets a retry-after header")
def test_a_rate_limit_may_be_retried(tmp_path: Path) -> None:
    small = {"authorization": "Bearer small-key"}
    with house(tmp_path, more=LIMITED) as it:
        it.messages("a", headers=small)
        answer = it.messages("a", headers=small)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "x-should-retry" not in answer.headers


# As Claude Code 2.1 sends it, with fewer tools and words.
CLAUDE_CODE: dict[str, Any] = {
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1;"},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        user(
            [{"type": "text", "text": "<system-reminder>Be brief.</system-reminder>"}, {"type": "text", "text": "hi"}]
        ),
        {"role": "system", "content": "The folder is /tmp."},
    ],
    "tools": [
        {"name": "Bash", "description": "Runs", "input_schema": {"type": "object", "properties": {}}},
        {"name": "Web", "description": "Reads", "input_schema": {"type": "object"}, "defer_loading": True},
    ],
    "metadata": {"user_id": '{"device_id":"c7352ee1","account_uuid":"","session_id":"145055f5"}'},
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "stream": True,
}


@pytest.mark.report("clients", "A request from Claude Code reaches Anthropic unchanged")
def test_claude_code_to_anthropic(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        body = {"model": "a", **CLAUDE_CODE}
        answer = it.gateway.request("POST", "/v1/messages?beta=true", body, {"anthropic-version": "2023-06-01"})
        sent = it.last
    assert answer.status == 200
    assert "x-gatehouse-dropped-params" not in answer.headers
    assert sent == {"model": "claude-x", **CLAUDE_CODE}


@pytest.mark.report(
    "clients", "Other providers answer Claude Code, and x-gatehouse-dropped-params lists what they do not support"
)
@pytest.mark.parametrize("model", ["o", "g"])
def test_claude_code_to_others(tmp_path: Path, model: str) -> None:
    with house(tmp_path) as it:
        body = {"model": model, **CLAUDE_CODE}
        answer = it.gateway.request("POST", "/v1/messages?beta=true", body, {"anthropic-version": "2023-06-01"})
        sent = it.last
    assert answer.status == 200
    assert b"event: message_stop" in answer.body
    assert "context_management" in answer.headers["x-gatehouse-dropped-params"]
    effort = sent["generationConfig"]["thinkingConfig"]["thinkingLevel"] if model == "g" else sent["reasoning_effort"]
    assert effort.lower() == "high"


@pytest.mark.report("clients", "Claude Code's model list contains only the models that its key may use")
def test_model_discovery(tmp_path: Path) -> None:
    with house(tmp_path, more=LIMITED) as it:
        answer = it.gateway.request("GET", "/v1/models?limit=1000", headers={"anthropic-version": "2023-06-01"})
    listed = answer.json()
    assert [(each["id"], each["type"]) for each in listed["data"]] == [("o", "model")]
    assert listed["has_more"] is False


@pytest.mark.report("clients", "A field at its default value is not reported as dropped")
def test_a_default_is_no_loss(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for answer in (
            it.generate("o", generationConfig={"responseModalities": ["TEXT"]}),
            it.generate("a", generationConfig={"responseModalities": ["TEXT"], "temperature": 1}),
            it.chat("a", store=False, service_tier="auto", modalities=["text"]),
            it.chat("g", store=False, service_tier="auto", modalities=["text"]),
        ):
            assert answer.status == 200
            assert "x-gatehouse-dropped-params" not in answer.headers
        assert "store" in it.chat("a", store=True).headers["x-gatehouse-dropped-params"]
        # To its own vendor everything goes as it is.
        it.generate("g", generationConfig={"responseModalities": ["TEXT"]})
        assert it.last["generationConfig"] == {"responseModalities": ["TEXT"]}


@pytest.mark.report("clients", "A dropped field inside an object is reported by its own path")
@pytest.mark.parametrize("model", ["o", "a"])
def test_a_loss_names_the_field(tmp_path: Path, model: str) -> None:
    with house(tmp_path) as it:
        answer = it.generate(model, generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW", "temperature": 1})
        assert answer.headers["x-gatehouse-dropped-params"] == "generationConfig.mediaResolution"
        answer = it.generate(model, toolConfig={"retrievalConfig": {"languageCode": "de"}})
        assert answer.headers["x-gatehouse-dropped-params"] == "toolConfig.retrievalConfig"


@pytest.mark.report(
    "clients",
    "Gemini's VALIDATED mode is dropped and reported for other providers, even with `unsupported_params: refuse`",
)
@pytest.mark.parametrize("model", ["o", "a", "strict"])
def test_validated_calls(tmp_path: Path, model: str) -> None:
    config = {"functionCallingConfig": {"mode": "VALIDATED"}}
    tools = [{"functionDeclarations": [{"name": "weather", "description": "w"}]}]
    strict = "  strict: {targets: [o/gpt-x], unsupported_params: refuse}\n"
    with house(tmp_path, models=strict) as it:
        answer = it.generate(model, tools=tools, toolConfig=config)
        assert answer.status == 200
        assert answer.headers["x-gatehouse-dropped-params"] == "toolConfig.functionCallingConfig.mode"
        it.generate("g", tools=tools, toolConfig=config)
        assert it.last["toolConfig"] == config


@pytest.mark.report(
    "clients", "An unserved path that several APIs share is refused in the error format of the caller's SDK"
)
def test_a_shared_path_is_refused_in_the_callers_shape(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for path in ("/v1/files", "/v1/batches"):
            plain = it.gateway.request("GET", path)
            anthropic = it.gateway.request("GET", path, headers={"anthropic-version": "2026-10-21"})
            google = it.gateway.request("GET", path, headers={"x-goog-api-key": "test-key"})
            assert [each.status for each in (plain, anthropic, google)] == [404, 404, 404]
            assert plain.json()["error"]["code"] == "not_found"
            assert anthropic.json()["error"]["type"] == "not_found_error"
            assert google.json()["error"]["status"] == "NOT_FOUND"
