"""Reads and writes OpenAI's embeddings on both sides."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import msgspec

from contract.dialect import WireOptions, WireRequest
from contract.errors import GatehouseError, InvalidRequest, MalformedReply
from contract.messages import EmbeddingRequest, Embeddings
from gateway.dialects import fields
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.openai_chat import errors

_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})
_INPUT = "a string, an array of strings or arrays of tokens"


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None  # Voyage's only count


class _Reply(msgspec.Struct):
    data: list[_Vector]
    model: str = ""
    usage: _Usage | None = None


_decode = msgspec.json.Decoder(_Reply).decode


class OpenAIEmbeddings:
    """The embeddings side of the dialect `openai`."""

    name = "openai"

    def __init__(self, model: str = "") -> None:
        """`model` is the model in the path (Azure's deployments), which has priority over the body."""
        self._model = model

    def read_request(self, body: bytes) -> EmbeddingRequest:
        """Reads a request. Raises `InvalidRequest` that names the field."""
        source = fields.read_json_object(body)
        encoding = fields.text(source, "encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise InvalidRequest("'encoding_format' must be 'float' or 'base64'", param="encoding_format")
        texts, tokens = _read_input(source)
        return EmbeddingRequest(
            dialect="openai",
            model=self._model or fields.required_text(source, "model"),
            texts=texts,
            tokens=tokens,
            dimensions=fields.integer(source, "dimensions"),
            base64=encoding == "base64",
            user=fields.text(source, "user") or "",
            extra=fields.rest(source, _KNOWN),
        )

    def write_reply(self, request: EmbeddingRequest, answer: Embeddings) -> bytes:
        """Writes the response body."""
        data = [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if request.base64 else vector}
            for index, vector in enumerate(answer.vectors)
        ]
        usage = {"prompt_tokens": answer.input_tokens, "total_tokens": answer.input_tokens}
        return _encode({"object": "list", "data": data, "model": answer.model or request.model, "usage": usage})

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Writes the provider's request. Without `encoding_format`, which some servers reject, vectors are numbers."""
        losses = DroppedParams(options.unsupported)
        body: dict[str, Any] = {"model": options.model, "input": request.tokens or request.texts}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.user:
            body["user"] = request.user
        if request.extra:
            if request.dialect == "openai":
                body = {**request.extra, **body}
            else:
                losses.add_extras(request.extra)
        return WireRequest("/embeddings", _encode(body), losses=losses.all())

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Reads the provider's reply. Raises `MalformedReply`."""
        try:
            reply = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedReply("The provider's response is not a list of embeddings") from None
        vectors = [_floats(item.embedding) for item in sorted(reply.data, key=lambda item: item.index)]
        usage = reply.usage or _Usage()
        return Embeddings(vectors, reply.model, usage.prompt_tokens or usage.total_tokens or 0)

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error response."""
        return errors.write(error)


# The vendor's limit.
MAX_INPUTS = 2048


def _read_input(source: dict[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    value = source.get("input")
    if type(value) is str:
        return (value,), ()
    if type(value) is not list:
        raise fields.missing("input") if value is None else fields.wrong_type("input", _INPUT, value)
    if not value:
        raise InvalidRequest("'input' must not be empty", param="input")
    if all(type(item) is int for item in value):
        return (), (tuple(fields.check_count(value, "input", fields.MAX_NUMBERS)),)
    fields.check_count(value, "input", MAX_INPUTS)
    if all(type(item) is str for item in value):
        return tuple(value), ()
    if all(type(item) is list and all(type(token) is int for token in item) for item in value):
        if (size := sum([len(item) for item in value])) > fields.MAX_NUMBERS:
            limit = fields.MAX_NUMBERS
            raise InvalidRequest(f"'input' contains {size} tokens; at most {limit} are accepted", param="input")
        return (), tuple([tuple(item) for item in value])
    raise InvalidRequest(f"'input' must be {_INPUT}", param="input")


def _base64(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode("ascii")


def _floats(value: list[float] | str) -> list[float]:
    if isinstance(value, list):
        return value
    try:
        return array("f", base64.b64decode(value, validate=True)).tolist()
    except ValueError:
        raise MalformedReply("The provider's embedding is not base64 of float32") from None
