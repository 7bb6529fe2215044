"""Requests in a neutral format that every dialect can be read into and written from.

Nothing here is ever mutated; a step that changes a request creates a new one (`msgspec.structs.replace`).
`extra` has the fields of a wire format without an equivalent here. They are forwarded to a provider of the same
dialect (`ChatRequest.dialect`), and dropped with a record for any other.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Extra: TypeAlias = dict[str, Any] | None
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]


class Text(msgspec.Struct, frozen=True, tag=True):
    """Text; `signature` is Google's signature of it."""

    text: str
    extra: Extra = None
    signature: str = ""


class Image(msgspec.Struct, frozen=True, tag=True):
    """An image: either `url`, or base64 `data` with its `media_type`."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    detail: str = ""
    extra: Extra = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    """Audio: base64 `data` in `format` (`wav`, `mp3`, ...)."""

    data: str
    format: str = ""
    extra: Extra = None


class Document(msgspec.Struct, frozen=True, tag=True):
    """A file such as a PDF: `url`, base64 `data` with `media_type`, plain `text`, or the provider's `file_id`."""

    url: str = ""
    data: str = ""
    text: str = ""
    file_id: str = ""
    media_type: str = ""
    name: str = ""
    extra: Extra = None


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """Reasoning of a model. `signature` and `redacted` are opaque and are sent back to the provider unchanged.

    `signed_by` is the dialect of their vendor. Gemini signs text too: a signature without reasoning belongs to the text
    before it.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    extra: Extra = None
    signed_by: str = ""


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """A refusal by the model, in its own field (OpenAI's `refusal`)."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A tool call by the model. `arguments` is the JSON text as the model wrote it, `signature` Google's."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    extra: Extra = None


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """The result of a tool, in a message of role `tool` or `user`; `name` is set if known."""

    call_id: str
    parts: tuple[Text | Image | Audio | Document | Opaque, ...] = ()
    name: str = ""
    is_error: bool = False
    extra: Extra = None


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """A part that only its own dialect supports, unchanged."""

    dialect: str
    value: dict[str, Any]


Part: TypeAlias = Text | Image | Audio | Document | Reasoning | Refusal | ToolCall | ToolResult | Opaque


class Message(msgspec.Struct, frozen=True):
    """One message. A system prompt is a message too, wherever its dialect has it."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    extra: Extra = None

    @property
    def text(self) -> str:
        """The text of this message, without its other parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is a JSON schema.

    `extra` has further fields of the function, `beside` those next to it, if the dialect has two places for fields.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    extra: Extra = None
    beside: Extra = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`auto`, `none`, `required` (any tool), or `named` with the one tool's name.

    `allowed` are the tools that `auto` and `required` may choose from; empty: all.
    """

    mode: Literal["auto", "none", "required", "named"]
    name: str = ""
    allowed: tuple[str, ...] = ()


class ResponseFormat(msgspec.Struct, frozen=True):
    """`json` is any JSON object; `json_schema` is JSON that fits `schema`."""

    kind: Literal["text", "json", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str = ""
    description: str = ""
    strict: bool | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    """Reasoning options: an effort level, a budget in tokens, or off; and whether to return the reasoning."""

    effort: str = ""
    budget_tokens: int | None = None
    enabled: bool | None = None
    include: bool | None = None


class CacheControl(msgspec.Struct, frozen=True):
    """Cache options of a caller: `no_cache` (a new response), `no_store`, and the maximum age in seconds."""

    no_cache: bool = False
    no_store: bool = False
    max_age: float | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request.

    `dialect` is the wire format it was received in. `tools` may contain `Opaque` entries (a provider's own tools).
    `include_usage` is whether the caller wants usage at the end of a stream; upstream always gets it.
    `conversation` is the caller's name for it (`x-gatehouse-conversation`), and is not sent to providers; neither are
    `cache` and `headers`, the HTTP headers that rules of the router read, in lower case. `betas` are the values of
    `anthropic-beta`, sorted: the response may depend on them.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | Opaque, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningOptions | None = None
    stream: bool = False
    include_usage: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str = ""
    metadata: dict[str, Any] | None = None
    extra: Extra = None
    conversation: str = ""
    cache: CacheControl | None = None
    headers: dict[str, str] = {}
    betas: tuple[str, ...] = ()


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed, or their tokens. `base64`: return vectors in base64 (little-endian float32)."""

    dialect: str
    model: str
    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    base64: bool = False
    user: str = ""
    extra: Extra = None


class Embeddings(msgspec.Struct, frozen=True):
    """One vector per text, in the order of the texts; `input_tokens` is the provider's count (0: not reported)."""

    vectors: list[list[float]]
    model: str
    input_tokens: int = 0


class DroppedParam(msgspec.Struct, frozen=True):
    """A field of a request that a dialect does not support, and what was done with it."""

    field: str
    reason: str
