"""Public reports about embeddings: their number, their encoding, what is counted of them."""

from __future__ import annotations

import array
import base64
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer
from tests.reports.vendors import House, Request, house, response

PRICES = "\nprices: {o/gpt-x: {input: 1.00, output: 0}}"


def vectors(count: int, usage: dict[str, int] | None = None) -> Any:
    """As OpenAI or Gemini gives them."""

    def script(request: Request) -> bytes:
        if "Embed" in request.path:
            return response({"embeddings": [{"values": [0.5, number]} for number in range(count)]})
        data = [{"object": "embedding", "index": number, "embedding": [0.5, number]} for number in range(count)]
        return response({"object": "list", "data": data, "model": "e", **({"usage": usage} if usage else {})})

    return script


def embed(it: House, model: str, **fields: Any) -> Answer:
    return it.gateway.request("POST", "/v1/embeddings", {"model": model, **fields})


@pytest.mark.report("embeddings", "A provider that returns more or fewer embeddings than inputs is an error")
@pytest.mark.parametrize("model", ["o", "g"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_another_number(tmp_path: Path, model: str, count: int) -> None:
    with house(tmp_path, vectors(count)) as it:
        answer = embed(it, model, input=["a", "b", "c"])
        assert answer.status == 502
        assert answer.json()["error"]["code"] == "upstream_malformed"
        alone = {"content": {"parts": [{"text": "a"}]}}
        one = it.gateway.request("POST", f"/v1beta/models/{model}:embedContent", alone)
    assert one.status == (200 if count == 1 else 502)


@pytest.mark.report(
    "embeddings", "The gateway encodes embeddings as floats or base64 itself and never asks a provider for either"
)
@pytest.mark.parametrize("model", ["o", "g"])
def test_encodings(tmp_path: Path, model: str) -> None:
    with house(tmp_path, vectors(1)) as it:
        for asked in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
            answer = embed(it, model, input="a", dimensions=2, **asked)
            given = answer.json()["data"][0]["embedding"]
            if asked.get("encoding_format") == "base64":
                given = list(array.array("f", base64.b64decode(given)))
            assert given == [0.5, 0]
            assert "encoding_format" not in it.last
            assert answer.headers.get("x-gatehouse-dropped-params") is None
        assert (it.last["dimensions"] if model == "o" else it.last["requests"][0]["outputDimensionality"]) == 2


@pytest.mark.report("embeddings", "Embedding tokens that appear only in the total are counted and priced")
def test_a_total_alone(tmp_path: Path) -> None:
    with house(tmp_path, vectors(1, {"total_tokens": 7}), more=PRICES) as it:
        answer = embed(it, "o", input="a")
    assert answer.json()["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer.headers["x-gatehouse-cost-usd"] == "0.000007"


@pytest.mark.report("embeddings", "Token ids for a provider that embeds only text are refused, and the error says why")
def test_tokens_for_gemini(tmp_path: Path) -> None:
    with house(tmp_path, vectors(1)) as it:
        answer = embed(it, "g", input=[[1, 2, 3]])
    assert answer.status == 400
    assert "tokens" in answer.json()["error"]["message"]
