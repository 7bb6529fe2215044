"""A gateway with a model for every behaviour of every upstream dialect, and the vendors' SDKs that speak to it."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.contract.sdks.wire import DIALECTS
from tests.live import KEY, Gateway, running_gateway


def config() -> str:
    lines = ["version: 1", "providers:"]
    lines += [f"  {dialect}: {{kind: simulated, dialect: {dialect}}}" for dialect in DIALECTS]
    lines += ["models:"]
    for dialect in DIALECTS:
        for behaviour in ("ok", "echo", "tools", "reason", "cut5", "cached100", "length", "429-after2", "safety"):
            lines.append(
                f"  {behaviour}-{dialect}: {{targets: [{dialect}/sim-{behaviour}], retry: {{attempts: 1}}, "
                "breaker: {failures: 1000}}"
            )
        lines.append(f"  plain-{dialect}: {{targets: [{dialect}/some-model]}}")
    lines += ["apps:", f"  test: {{keys: [{KEY}]}}", 'observe: {log: "off"}']
    return "\n".join(lines)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(config(), tmp_path_factory.mktemp("sdks")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def openai_sdk(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module", params=["2023-06-01", "2026-10-21"])
def anthropic_sdk(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    headers = {"anthropic-version": request.param}
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0, default_headers=headers) as client:
        yield client


@pytest.fixture(scope="module")
def gemini_sdk(gateway: Gateway) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url))
