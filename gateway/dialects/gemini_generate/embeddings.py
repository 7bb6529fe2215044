"""Reads and writes `:embedContent` and `:batchEmbedContents` on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from contract.dialect import WireOptions, WireRequest
from contract.errors import InvalidRequest, MalformedReply, UnsupportedFeature
from contract.messages import EmbeddingRequest, Embeddings
from gateway.dialects import fields
from gateway.dialects.dropped_params import DroppedParams
from gateway.dialects.gemini_generate import errors
from gateway.dialects.gemini_generate.names import camel

if TYPE_CHECKING:
    from contract.errors import GatehouseError

_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset({"model", "content", "outputDimensionality"})


class _Vector(msgspec.Struct):
    values: list[float]


class _Count(msgspec.Struct):
    promptTokenCount: int = 0  # noqa: N815 - the wire's name


class _Batch(msgspec.Struct):
    embeddings: list[_Vector]
    usageMetadata: _Count | None = None  # noqa: N815


_decode = msgspec.json.Decoder(_Batch).decode


class GeminiEmbeddings:
    """The provider side. It always uses the batch call."""

    def write_embed_request(self, request: EmbeddingRequest, options: WireOptions) -> WireRequest:
        """Writes the provider's request. Raises `UnsupportedFeature` for tokens: Google accepts only texts."""
        if request.tokens:
            raise UnsupportedFeature("Gemini does not accept tokens: send strings in 'input'", param="input")
        losses = DroppedParams(options.unsupported)
        name = options.model.removeprefix("models/")
        model = f"models/{name}"
        each: dict[str, Any] = {"model": model}
        if request.dimensions is not None:
            each["outputDimensionality"] = request.dimensions
        if request.user:
            losses.add("user", "Gemini has no user id")
        if request.extra:
            if request.dialect == "gemini":
                each = {**request.extra, **each}
            else:
                losses.add_extras(request.extra)
        body = {"requests": [{**each, "content": {"parts": [{"text": text}]}} for text in request.texts]}
        path = f"/{options.version or 'v1beta'}/models/{quote(name, safe='/@-._~')}:batchEmbedContents"
        return WireRequest(path, _encode(body), losses=losses.all())

    def read_embed_reply(self, body: bytes) -> Embeddings:
        """Reads the provider's reply. Raises `MalformedReply`. Some of Google's models do not report token counts."""
        try:
            reply = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedReply("The provider's response is not a list of embeddings") from None
        count = reply.usageMetadata.promptTokenCount if reply.usageMetadata else 0
        return Embeddings([item.values for item in reply.embeddings], "", count)


class _Surface:
    """The base of both calls. The model is in the path."""

    def __init__(self, model: str) -> None:
        self._model = model

    def _request(self, items: list[tuple[dict[str, Any], str]]) -> EmbeddingRequest:
        texts = [_read_text(item, where) for item, where in items]
        first, where = items[0]
        settings = _settings(first)
        for item, at in items[1:]:
            if _settings(item) != settings:
                # All texts are sent in one request, so they must have the same settings.
                raise InvalidRequest(
                    f"'{at[:-1]}' must have the same settings as the first request; only the content may differ",
                    param=at[:-1],
                )
        return EmbeddingRequest(
            dialect="gemini",
            model=self._model,
            texts=tuple(texts),
            dimensions=fields.integer(first, "outputDimensionality", where),
            extra=fields.rest(first, _KNOWN),
        )

    def write_error(self, error: GatehouseError, request_id: str) -> bytes:
        """The body of an error response."""
        return errors.write(error)


def _settings(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in ("model", "content")}


def _read_text(item: dict[str, Any], where: str) -> str:
    content = item.get("content")
    if type(content) is str:
        return content
    if type(content) is not dict:
        raise (
            fields.missing(where + "content")
            if content is None
            else fields.wrong_type(where + "content", "an object", content)
        )
    parts = fields.array(content, "parts", where + "content.") or []
    where += "content.parts"
    return "".join([fields.required_text(part, "text", f"{where}[].") for part in fields.each_object(parts, where)])


class GeminiSingleEmbedding(_Surface):
    """`:embedContent`."""

    def read_request(self, body: bytes) -> EmbeddingRequest:
        """Reads a request. Raises `InvalidRequest` that names the field."""
        return self._request([(camel(fields.read_json_object(body)), "")])

    def write_reply(self, request: EmbeddingRequest, answer: Embeddings) -> bytes:
        """Writes the response body."""
        return _encode({"embedding": {"values": answer.vectors[0]}})


class GeminiBatchEmbeddings(_Surface):
    """`:batchEmbedContents`."""

    def read_request(self, body: bytes) -> EmbeddingRequest:
        """Reads a request. Raises `InvalidRequest` that names the field."""
        items = fields.array(fields.read_json_object(body), "requests")
        if not items:
            raise InvalidRequest("'requests' must hold at least one request", param="requests")
        return self._request(
            [(camel(item), f"requests[{i}].") for i, item in enumerate(fields.each_object(items, "requests"))]
        )

    def write_reply(self, request: EmbeddingRequest, answer: Embeddings) -> bytes:
        """Writes the response body."""
        return _encode({"embeddings": [{"values": vector} for vector in answer.vectors]})
