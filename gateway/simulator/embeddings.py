"""Answers that are no text of a model: embeddings, and counts of tokens."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from gateway.simulator.answers import CHARS_PER_TOKEN
from gateway.simulator.wire import BadRequest, vector

MAX_DIMENSIONS = 4096


def answer_plainly(path: str, verb: str, body: dict[str, Any]) -> dict[str, Any] | None:
    """The body of such an answer, None for another path. Raises `BadRequest`."""
    if path == "/v1/embeddings":
        return _embed(body)
    if path == "/v1/messages/count_tokens":
        return {"input_tokens": len(json.dumps(body)) // CHARS_PER_TOKEN}
    if verb == "countTokens":
        return {"totalTokens": len(json.dumps(body)) // CHARS_PER_TOKEN}
    if verb == "embedContent":
        return {"embedding": _embed_content(body)}
    if verb == "batchEmbedContents":
        return {"embeddings": [_embed_content(each) for each in body["requests"]]}
    return None


def _embed_content(request: dict[str, Any]) -> dict[str, Any]:
    text = "".join(part.get("text", "") for part in request["content"]["parts"])
    return {"values": vector(text, _size(request.get("outputDimensionality")))}


def _size(asked: Any) -> int:
    if asked is None:
        return 8
    if not isinstance(asked, int) or not 0 < asked <= MAX_DIMENSIONS:
        raise BadRequest(f"Invalid value for 'dimensions': must be from 1 to {MAX_DIMENSIONS}.", "dimensions")
    return asked


def _embed(body: dict[str, Any]) -> dict[str, Any]:
    given = body.get("input")
    if given is None:
        raise BadRequest("Missing required parameter: 'input'.", "input")
    # One text, several, the tokens of one text, or those of several.
    one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    texts = [given] if one else given
    size = _size(body.get("dimensions"))
    data: list[dict[str, Any]] = []
    for index, text in enumerate(texts):
        numbers: Any = vector(str(text), size)
        if body.get("encoding_format") == "base64":
            numbers = base64.b64encode(struct.pack(f"<{size}f", *numbers)).decode()
        data.append({"object": "embedding", "index": index, "embedding": numbers})
    count = sum(len(str(text)) // CHARS_PER_TOKEN + 1 for text in texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": body.get("model") or "", "usage": usage}
