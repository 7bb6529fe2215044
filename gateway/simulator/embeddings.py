"""Answers that are no text of a model: embeddings, and counts of tokens."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from gateway.simulator.answers import CHARS_PER_TOKEN
from gateway.simulator.wire import BadRequest, vector

MAX_DIMENSIONS = 4096


def counted(body: dict[str, Any]) -> int:
    """A request's tokens, roughly."""
    return len(json.dumps(body)) // CHARS_PER_TOKEN


def embed_content(request: dict[str, Any]) -> dict[str, Any]:
    """One text, as Gemini's API has it."""
    text = "".join(part.get("text", "") for part in request["content"]["parts"])
    return {"values": vector(text, _size(request.get("outputDimensionality")))}


def _size(asked: Any) -> int:
    if asked is None:
        return 8
    if not isinstance(asked, int) or not 0 < asked <= MAX_DIMENSIONS:
        raise BadRequest(f"Invalid value for 'dimensions': must be from 1 to {MAX_DIMENSIONS}.", "dimensions")
    return asked


def embed(body: dict[str, Any]) -> dict[str, Any]:
    """One text or several, as OpenAI's API has it. Raises `BadRequest`."""
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
