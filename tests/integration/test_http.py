"""The gateway over real HTTP: who may, what is wrong with a request, what every reply carries."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.server import Simulator, running
from tests.live import Gateway, running_gateway
from tests.processes import until

CONFIG = """
version: 1
server: {{max_body: 2MB, keepalive: 100ms}}
providers:
  up: {{kind: openai, base_url: "{url}/v1", api_key: upstream-secret-key}}
  claude: {{kind: anthropic, base_url: "{url}", api_key: upstream-secret-key}}
  google: {{kind: gemini, base_url: "{url}", api_key: upstream-secret-key}}
models:
  quick: {{targets: [up/some-model]}}
  slow: {{targets: [up/sim-slow600]}}
  hang: {{targets: [up/sim-hang]}}
  paced: {{targets: [up/sim-n200-pace20]}}
  paced-claude: {{targets: [claude/sim-n200-pace20]}}
  silent: {{targets: [up/sim-n4-pace450]}}
  late: {{targets: [up/sim-n3-pace100]}}
  never: {{targets: [up/sim-n3-pace60000], first_token: 90s, timeout: 90s}}
  late-cut: {{targets: [up/sim-cut1-pace100, claude/some-model]}}
  two: {{targets: [up/sim-500, up/sim-401], retry: {{attempts: 1}}, breaker: {{failures: 1000}}}}
  picky: {{targets: [claude/some-model], unsupported_params: refuse}}
  late-echo: {{targets: [up/sim-echo-pace150]}}
  late-blocked: {{pipeline: late-blocked}}
guardrails:
  words: {{kind: keywords, lists: {{secret: [bluebird]}}, then: block}}
pipelines:
  late-blocked: {{model: late-echo, guard_output: [words]}}
apps:
  all: {{keys: [test-key]}}
  some: {{keys: [other-key], models: [quick]}}
observe: {{log: "off"}}
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Simulator]:
    with running() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Simulator) -> Iterator[Gateway]:
    with running_gateway(CONFIG.format(url=upstream.url), tmp_path_factory.mktemp("http")) as gateway:
        yield gateway


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "quick", "messages": [{"role": "user", "content": "hi"}], **fields}


PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/quick:generateContent",
}
surfaces = pytest.mark.parametrize("surface", sorted(PATHS))


def error_of(surface: str, body: Any) -> tuple[str, str]:
    """(kind, message) in the surface's own shape."""
    if surface == "openai":
        assert body.keys() == {"error"}
        return body["error"]["type"], body["error"]["message"]
    if surface == "anthropic":
        assert body["type"] == "error"
        assert body["request_id"]
        return body["error"]["type"], body["error"]["message"]
    return body["error"]["status"], body["error"]["message"]


@surfaces
@pytest.mark.parametrize(
    ("case", "status", "kinds"),
    [
        ("key", 401, {"authentication_error", "UNAUTHENTICATED"}),
        ("json", 400, {"invalid_request_error", "INVALID_ARGUMENT"}),
        ("type", 400, {"invalid_request_error", "INVALID_ARGUMENT"}),
        ("size", 413, {"invalid_request_error", "request_too_large", "INVALID_ARGUMENT"}),
        ("model", 404, {"invalid_request_error", "not_found_error", "NOT_FOUND"}),
        ("method", 405, {"invalid_request_error", "INVALID_ARGUMENT"}),
    ],
)
def test_bad_requests_in_the_surface_s_own_shape(
    gateway: Gateway, surface: str, case: str, status: int, kinds: set[str]
) -> None:
    path = PATHS[surface]
    body: Any = chat(max_tokens=5, contents=[{"parts": [{"text": "hi"}]}])
    headers = {}
    method = "POST"
    if case == "key":
        headers = {"authorization": "Bearer wrong"}
    elif case == "json":
        body = b'{"model": "quick", '
    elif case == "type":
        body["messages"] = body["contents"] = 7
    elif case == "size":
        body = b"x" * 2_100_000
    elif case == "model":
        body["model"] = "quik"
        path = path.replace("quick", "quik")
    else:
        method = "PUT"
    answer = gateway.request(method, path, body, headers)
    assert answer.status == status
    kind, message = error_of(surface, answer.json())
    assert kind in kinds
    assert answer.headers["x-request-id"] == answer.headers["request-id"]
    if case == "model":
        assert "quick" in message
    if case == "type":
        assert "messages" in message or "contents" in message


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer test-key"},
        {"x-api-key": "test-key"},
        {"x-goog-api-key": "test-key"},
        {"api-key": "test-key"},
    ],
)
def test_the_key_of_every_vendor_is_read(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = gateway.request("POST", "/v1/chat/completions", chat(), {"authorization": "", **headers})
    assert answer.status == 200


def test_a_key_in_the_url_is_refused(gateway: Gateway) -> None:
    answer = gateway.request("POST", PATHS["gemini"] + "?key=test-key", chat(), {"authorization": ""})
    assert answer.status == 400
    assert "x-goog-api-key" in answer.json()["error"]["message"]


def test_models_that_are_not_the_caller_s_do_not_exist_for_it(gateway: Gateway) -> None:
    headers = {"authorization": "Bearer other-key"}
    answer = gateway.request("POST", "/v1/chat/completions", chat(model="slow"), headers)
    assert answer.status == 404
    assert [model["id"] for model in gateway.request("GET", "/v1/models", headers=headers).json()["data"]] == ["quick"]


def test_what_every_reply_carries(gateway: Gateway) -> None:
    for stream in (False, True):
        answer = gateway.request("POST", "/v1/chat/completions", chat(stream=stream), {"x-request-id": "mine-1"})
        headers = answer.headers
        assert headers["x-request-id"] == headers["request-id"] == "mine-1"
        assert headers["x-gatehouse-target"] == "up/some-model"
        assert headers["x-gatehouse-route"] == "quick"
        assert headers["x-gatehouse-attempts"] == "1"
        assert headers["x-gatehouse-cache"] == "off"
        assert 0 <= float(headers["x-gatehouse-overhead-ms"]) < 100
    odd = gateway.request("POST", "/v1/chat/completions", chat(), {"x-request-id": "not fit; to be repeated"})
    assert odd.headers["x-request-id"].startswith("req_")


def test_the_prefixes_of_the_vendors(gateway: Gateway) -> None:
    assert gateway.request("POST", "/openai/v1/chat/completions", chat()).status == 200
    assert gateway.request("POST", "/anthropic/v1/messages", chat(max_tokens=9)).status == 200
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    assert gateway.request("POST", "/gemini/v1beta/models/quick:generateContent", body).status == 200
    array = gateway.request("POST", "/v1beta/models/quick:streamGenerateContent", body).json()
    assert isinstance(array, list)
    assert array[-1]["candidates"][0]["finishReason"] == "STOP"


def test_models_in_the_manner_of_each_vendor(gateway: Gateway) -> None:
    assert "first_id" in gateway.request("GET", "/v1/models", headers={"anthropic-version": "2023-06-01"}).json()
    assert gateway.request("GET", "/v1beta/models").json()["models"][0]["name"].startswith("models/")
    assert gateway.request("GET", "/v1/models/quick").json()["id"] == "quick"
    assert gateway.request("GET", "/v1/models/quik").status == 404
    assert gateway.request("GET", "/v1/interactions").status == 404


def test_all_targets_down_lists_each_attempt_and_no_secret(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/v1/chat/completions", chat(model="two"))
    message = answer.json()["error"]["message"]
    assert "up/sim-500" in message
    assert "up/sim-401" in message
    assert "upstream-secret-key" not in message
    assert answer.headers["x-gatehouse-attempts"] == "2"


def test_what_can_t_be_said_is_refused_where_the_policy_says_so(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/v1/chat/completions", chat(model="picky", seed=3))
    assert answer.status == 400
    assert answer.json()["error"]["param"] == "seed"
    assert answer.json()["error"]["code"] == "unsupported_parameter"


def test_traceparent_goes_upstream_under_the_attempt_s_span(gateway: Gateway, upstream: Simulator) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "vendor=1"}
    gateway.request("POST", "/v1/chat/completions", chat(), headers)
    sent = upstream.requests[-1]["headers"]
    assert sent["traceparent"].split("-")[1] == trace
    assert sent["traceparent"].split("-")[2] != "b7ad6b7169203331"
    assert sent["tracestate"] == "vendor=1"
    assert sent["authorization"] == "...-key"


def test_unknown_fields_reach_a_provider_of_the_same_dialect(gateway: Gateway, upstream: Simulator) -> None:
    gateway.request("POST", "/v1/chat/completions", chat(brand_new={"a": [1]}, service_tier="flex"))
    assert upstream.requests[-1]["body"]["brand_new"] == {"a": [1]}
    assert upstream.requests[-1]["body"]["service_tier"] == "flex"


def open_stream(gateway: Gateway, path: str, body: dict[str, Any]) -> socket.socket:
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", gateway.port), 5)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer test-key\r\ncontent-length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize(
    ("path", "model", "stream", "wait_s"),
    [
        ("/v1/chat/completions", "hang", False, 0.2),
        ("/v1/chat/completions", "hang", True, 0.2),
        ("/v1/chat/completions", "paced", True, 0.3),
        ("/v1/messages", "paced", True, 0.3),
        ("/v1/messages", "paced-claude", True, 0.3),
        ("/v1/chat/completions", "paced-claude", False, 0.05),
    ],
)
def test_a_caller_that_leaves_closes_its_upstream_call(
    gateway: Gateway, upstream: Simulator, path: str, model: str, stream: bool, wait_s: float
) -> None:
    connection = open_stream(gateway, path, chat(model=model, stream=stream, max_tokens=999))
    time.sleep(wait_s)
    record = upstream.requests[-1]
    assert "ended" not in record or not stream
    if "ended" in record:
        connection.close()
        return
    connection.close()
    until(lambda: bool(record["client_left"]))

    def metrics_now() -> str:
        return gateway.request("GET", "/metrics").body.decode()

    until(lambda: 'gatehouse_in_flight{surface="POST /v1/chat/completions"} 0.0' in metrics_now())
    metrics = metrics_now()
    assert f'gatehouse_client_disconnects_total{{model="{model}"}}' in metrics
    assert f'gatehouse_target_in_flight{{target="up/sim-{model}"}}' not in metrics or "1.0" not in next(
        line for line in metrics.splitlines() if line.startswith("gatehouse_target_in_flight")
    )


def test_a_silent_stream_shows_signs_of_life(gateway: Gateway) -> None:
    openai = gateway.request("POST", "/v1/chat/completions", chat(model="silent", stream=True))
    assert openai.body.count(b": keep-alive\n\n") > 3
    assert openai.body.endswith(b"data: [DONE]\n\n")
    # Before the first word, too: a model may think for long.
    assert openai.body[: openai.body.index(b"word")].count(b": keep-alive\n\n") >= 2
    anthropic = gateway.request("POST", "/v1/messages", chat(model="silent", stream=True, max_tokens=99))
    assert anthropic.body.count(b"event: ping\n") > 3


def test_the_first_byte_does_not_wait_for_the_first_word(gateway: Gateway) -> None:
    connection = open_stream(gateway, "/v1/chat/completions", chat(model="never", stream=True))
    # The upstream says its first word after a minute: nobody waits for it here.
    assert b'"role":"assistant"' in connection.recv(65536)
    connection.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_is_blocked_behind_an_opening_ends_in_an_error_event(gateway: Gateway, path: str) -> None:
    asked = chat(model="late-blocked", stream=True, max_tokens=99, messages=[{"role": "user", "content": "bluebird"}])
    answer = gateway.request("POST", path, asked)
    assert answer.status == 200
    assert b"blocked by the guardrail" in answer.body
    assert b"bluebird" not in answer.body
    assert b"[DONE]" not in answer.body
    assert b"message_stop" not in answer.body


def test_behind_an_opening_another_target_may_answer(gateway: Gateway) -> None:
    answer = gateway.request("POST", "/v1/chat/completions", chat(model="late-cut", stream=True))
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert "quite a few words" in "".join(
        json.loads(frame[6:])["choices"][0]["delta"].get("content") or ""
        for frame in answer.body.decode().split("\n\n")
        if frame.startswith("data: {")
    )


def test_ten_megabytes_with_pictures_do_not_stall_others(tmp_path: Path, upstream: Simulator) -> None:
    config = CONFIG.format(url=upstream.url).replace("max_body: 2MB", "max_body: 32MB")
    picture = base64.b64encode(b"\x89PNG" + bytes(2_500_000)).decode()
    content: list[Any] = [{"type": "text", "text": "look"}]
    content += [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}] * 3
    body = json.dumps(chat(messages=[{"role": "user", "content": content}])).encode()
    assert len(body) > 10_000_000
    answered = 0
    stop = threading.Event()

    def ask_others(gateway: Gateway) -> None:
        nonlocal answered
        while not stop.is_set():
            assert gateway.request("GET", "/livez").status == 200
            answered += 1

    with running_gateway(config, tmp_path) as gateway:
        thread = threading.Thread(target=ask_others, args=(gateway,))
        thread.start()
        try:
            answer = gateway.request("POST", "/v1/chat/completions", body)
        finally:
            stop.set()
            thread.join()
    assert answer.status == 200
    assert "3 images" in answer.json()["choices"][0]["message"]["content"]
    # Others were answered while it was read: the upstream shares this process's interpreter, so no time is told.
    assert answered > 0


def test_health_calls_no_model(gateway: Gateway, upstream: Simulator) -> None:
    before = len(upstream.requests)
    for path in ("/livez", "/readyz", "/health", "/health/liveness", "/health/readiness", "/metrics"):
        answer = gateway.request("GET", path, headers={"authorization": ""})
        assert answer.status == 200, path
        assert b"upstream-secret-key" not in answer.body
    health = gateway.request("GET", "/health").json()
    assert len(health["config"]) == 12
    assert any(target["target"] == "up/some-model" for target in health["targets"])
    assert len(upstream.requests) == before
    assert gateway.request("GET", "/nothing/here").status == 404
