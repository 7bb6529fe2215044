"""What a caller asks: one request in words that every dialect can be read into and written from.

Nothing here is ever mutated; a step that changes a request makes a new one (`msgspec.structs.replace`).
`extra` holds the fields of a wire format that have no word here. They travel on to a provider of the
dialect that they came from (`ChatRequest.dialect`) and are dropped, with a recorded loss, for any other.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Extra: TypeAlias = dict[str, Any] | None
Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]


class Text(msgspec.Struct, frozen=True, tag=True):
    """Words; `signature` is what Google signed them with."""

    text: str
    extra: Extra = None
    signature: str = ""


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture: either `url`, or base64 `data` with its `media_type`."""

    url: str = ""
    data: str = ""
    media_type: str = ""
    detail: str = ""
    extra: Extra = None


class Audio(msgspec.Struct, frozen=True, tag=True):
    """Sound: base64 `data` in `format` (`wav`, `mp3`, ...)."""

    data: str
    format: str = ""
    extra: Extra = None


class Document(msgspec.Struct, frozen=True, tag=True):
    """A file such as a PDF: `url`, base64 `data` with `media_type`, plain `text`, or an id that the provider knows."""

    url: str = ""
    data: str = ""
    text: str = ""
    file_id: str = ""
    media_type: str = ""
    name: str = ""
    extra: Extra = None


class Reasoning(msgspec.Struct, frozen=True, tag=True):
    """What a model thought. `signature` and `redacted` are the provider's, opaque, and go back to it unchanged.

    `signed_by` names the dialect of the vendor whose they are. Gemini signs words too: a signature without thoughts is
    that of the words before it.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    extra: Extra = None
    signed_by: str = ""


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The model's own words of declining, in a place of their own (OpenAI's `refusal`)."""

    text: str


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A call the model asked for. `arguments` is the JSON text as the model wrote it, `signature` Google's."""

    id: str
    name: str
    arguments: str
    signature: str = ""
    extra: Extra = None


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What a tool answered. May stand in a message of role `tool` or `user`; `name` is filled where it is known."""

    call_id: str
    parts: tuple[Text | Image | Audio | Document | Opaque, ...] = ()
    name: str = ""
    is_error: bool = False
    extra: Extra = None


class Opaque(msgspec.Struct, frozen=True, tag=True):
    """A part that only its own dialect understands, kept as it came."""

    dialect: str
    value: dict[str, Any]


Part: TypeAlias = Text | Image | Audio | Document | Reasoning | Refusal | ToolCall | ToolResult | Opaque


class Message(msgspec.Struct, frozen=True):
    """One turn. A system prompt is a message too, wherever its dialect keeps it."""

    role: Role
    parts: tuple[Part, ...]
    name: str = ""
    extra: Extra = None

    @property
    def text(self) -> str:
        """The words of this message, without its other parts."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is a JSON schema.

    `extra` are further fields of the function, `beside` those that stand beside it, where the dialect has two places.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    extra: Extra = None
    beside: Extra = None


class ToolChoice(msgspec.Struct, frozen=True):
    """`auto`, `none`, `required` (any tool), or `named` with the one tool's name.

    `allowed` are the only tools that `auto` and `required` may choose from; empty: all.
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
    """How much to think: an effort in words, a budget in tokens, or off; and whether the thoughts are wanted back."""

    effort: str = ""
    budget_tokens: int | None = None
    enabled: bool | None = None
    include: bool | None = None


class CacheControl(msgspec.Struct, frozen=True):
    """What a caller asks of the cache: a new answer, one that is not kept, none older than `max_age` seconds."""

    no_cache: bool = False
    no_store: bool = False
    max_age: float | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a chat answer.

    `dialect` names the wire format it came in. `tools` may hold `Opaque` entries (a provider's own tools).
    `include_usage` says whether the caller wants usage at the end of a stream; it is always asked upstream.
    `conversation` is the caller's own name for it (`x-gatehouse-conversation`), and goes to no provider; neither do
    `cache` and `headers`, the HTTP headers that a rule of the router looks at, in small letters. `betas` are what the
    caller asks for in `anthropic-beta`, sorted: what an answer is may depend on it.
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
    """Texts to embed, or their tokens. `base64` is what the caller wants back (little-endian float32)."""

    dialect: str
    model: str
    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    base64: bool = False
    user: str = ""
    extra: Extra = None


class Embeddings(msgspec.Struct, frozen=True):
    """One vector a text, in the order of the texts; `input_tokens` as the provider counted (0: not said)."""

    vectors: list[list[float]]
    model: str
    input_tokens: int = 0


class DroppedParam(msgspec.Struct, frozen=True):
    """Something of a request that a dialect could not say: where it stood, and what became of it."""

    field: str
    reason: str
