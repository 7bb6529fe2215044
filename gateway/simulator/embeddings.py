"""Responses without generated text: embeddings and token counts."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from gateway.simulator.answers import CHARS_PER_TOKEN
from gateway.simulator.wire import BadRequest, vector

MAX_DIMENSIONS = 4096


def count_tokens(body: dict[str, Any]) -> int:
    """A rough count of a request's tokens."""
    return len(json.dumps(body)) // CHARS_PER_TOKEN


def embed_content(request: dict[str, Any]) -> dict[str, Any]:
    """One embedding in Gemini's format."""
    text = "".join(part.get("text", "") for part in request["content"]["parts"])
    return {"values": vector(text, _size(request.get("outputDimensionality")))}


def _size(dimensions: Any) -> int:
    if dimensions is None:
        return 8
    if not isinstance(dimensions, int) or not 0 < dimensions <= MAX_DIMENSIONS:
        raise BadRequest(f"Invalid value for 'dimensions': must be from 1 to {MAX_DIMENSIONS}.", "dimensions")
    return dimensions


def embed(body: dict[str, Any]) -> dict[str, Any]:
    """One or several embeddings in OpenAI's format. Raises `BadRequest`."""
    value = body.get("input")
    if value is None:
        raise BadRequest("Missing required parameter: 'input'.", "input")
    # The input is one text, several texts, the tokens of one text, or the tokens of several.
    single = isinstance(value, str) or (bool(value) and isinstance(value[0], int))
    texts = [value] if single else value
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
