"""Conversations that a provider holds: a request names the last answer, and sends only what is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.live import KEY, running_gateway
from tests.reports.vendors import Request, house, plain, response, user

CREATE: dict[str, Any] = {"type": "create"}
CONTINUE: dict[str, Any] = {"type": "continue", "previous_message_id": "msg_0"}
RESULT = user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "20"}])


@pytest.mark.report(
    "threads", "A thread stored at Anthropic is never dropped: a request that needs it is refused for other providers"
)
@pytest.mark.parametrize("model", ["o", "g"])
@pytest.mark.parametrize("thread", [CREATE, CONTINUE])
@pytest.mark.parametrize("stream", [False, True])
def test_a_thread_goes_to_no_other_vendor(tmp_path: Path, model: str, thread: dict[str, Any], stream: bool) -> None:
    with house(tmp_path) as it:
        answer = it.messages(model, [RESULT], thread=thread, stream=stream)
        asked = it.upstream.requests
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "'thread'" in error["message"]
    # With this word Anthropic's SDKs send the whole conversation instead.
    assert error["details"] == {"error_code": "thread_unsupported_request"}
    assert not asked


@pytest.mark.report("threads", "The built-in model refuses threads")
def test_the_built_in_model_takes_no_thread(tmp_path: Path) -> None:
    yaml = "version: 1\nproviders: {builtin: {kind: extractive}}\nmodels: {quote: {targets: [builtin/extractive]}}\n"
    body = {"model": "quote", "max_tokens": 9, "messages": [user()], "thread": CONTINUE}
    with running_gateway(yaml + "observe: {log: 'off'}\n", tmp_path) as gateway:
        answer = gateway.request("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert answer.status == 400
    assert answer.json()["error"]["details"] == {"error_code": "thread_unsupported_request"}


@pytest.mark.report("threads", "A thread reaches Anthropic unchanged")
def test_a_thread_goes_to_anthropic(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        answer = it.messages("a", thread=CONTINUE)
        sent = it.last
    assert answer.status == 200
    assert sent["thread"] == CONTINUE
    assert "x-gatehouse-dropped-params" not in answer.headers


def lost(request: Request) -> bytes:
    """Anthropic's answer for a conversation that it no longer holds, if one is continued."""
    if request.json.get("thread", CREATE) == CREATE:
        return bytes(plain(request))
    error = {"type": "not_found_error", "message": "No thread was found", "details": {"error_code": "thread_not_found"}}
    return response({"type": "error", "error": error, "request_id": "req_1"}, status="404 Not Found")


@pytest.mark.report("threads", "When Anthropic cannot continue a thread, its own error reaches the caller")
def test_why_a_thread_does_not_go_on_reaches_the_caller(tmp_path: Path) -> None:
    more = "  two: {targets: [a/claude-x, a/claude-y]}\n"
    with house(tmp_path, lost, more) as it:
        for model in ("a", "two"):
            answer = it.messages(model, thread=CONTINUE)
            assert answer.status == 400
            assert answer.json()["error"]["details"] == {"error_code": "thread_not_found"}
        asked = len(it.upstream.requests)
    assert asked == 2


@pytest.mark.report(
    "threads", "A pipeline refuses threads, because guardrails and context need the complete conversation"
)
@pytest.mark.parametrize("thread", [CREATE, CONTINUE])
def test_a_pipeline_takes_no_thread(tmp_path: Path, thread: dict[str, Any]) -> None:
    models = "  safe: {pipeline: safe}\n"
    more = "guardrails: {secrets: {kind: secrets}}\npipelines: {safe: {guard_input: [secrets], model: a}}\n"
    with house(tmp_path, models=models, more=more) as it:
        answer = it.messages("safe", thread=thread)
        asked = it.upstream.requests
    assert answer.status == 400
    assert answer.json()["error"]["details"]["error_code"] == "thread_unsupported_request"
    assert not asked


@pytest.mark.report("threads", "A request with content cached at Google is refused for other providers")
def test_cached_content_goes_to_no_other_vendor(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for model in ("o", "a"):
            answer = it.generate(model, cachedContent="cachedContents/1")
            assert answer.status == 400
            assert "'cachedContent'" in answer.json()["error"]["message"]
        assert not it.upstream.requests
        assert it.generate("g", cachedContent="cachedContents/1").status == 200
        assert it.last["cachedContent"] == "cachedContents/1"


@pytest.mark.report("threads", "A request with a conversation stored at OpenAI is refused for other providers")
@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_a_conversation_of_openai_goes_to_no_other_vendor(tmp_path: Path, field: str) -> None:
    named: dict[str, Any] = {field: "resp_1"}
    with house(tmp_path) as it:
        for model in ("a", "g"):
            answer = it.chat(model, **named)
            assert answer.status == 400
            assert answer.json()["error"]["param"] == field
        assert not it.upstream.requests
        it.chat("o", **named)
        assert it.last[field] == "resp_1"


@pytest.mark.report("threads", "A null field is not reported as dropped")
def test_a_null_is_no_loss(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for answer in (
            it.chat("a", store=None, logit_bias=None),
            it.messages("o", thread=None, container=None, service_tier=None),
            it.generate("o", cachedContent=None, safetySettings=None),
        ):
            assert answer.status == 200
            assert "x-gatehouse-dropped-params" not in answer.headers


SIMULATED = """version: 1
providers:
  openai: {kind: simulated, dialect: openai}
  anthropic: {kind: simulated, dialect: anthropic}
  gemini: {kind: simulated, dialect: gemini}
models:
  openai: {targets: [openai/some]}
  anthropic: {targets: [anthropic/some]}
  gemini: {targets: [gemini/some]}
apps: {test: {keys: [test-key]}}
observe: {log: "off"}
"""


@pytest.mark.report("threads", "The tool runner of Anthropic's SDK, which sends a thread, works with every provider")
@pytest.mark.parametrize("model", ["openai", "anthropic", "gemini"])
def test_the_tool_runner_of_the_sdk(tmp_path: Path, model: str) -> None:
    called: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather of a city."""
        called.append(city)
        return "20 degrees"

    with (
        running_gateway(SIMULATED, tmp_path) as gateway,
        anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client,
    ):
        runner = client.beta.messages.tool_runner(
            model=model,
            max_tokens=500,
            tools=[weather],
            # Forced, the simulator calls in every turn.
            tool_choice={"type": "any"},
            max_iterations=3,
            messages=[{"role": "user", "content": "How warm is it in Rome?"}],
        )
        replies = list(runner)
    assert len(replies) == 3
    assert len(called) == 3
