"""Helpers for calls to a model within a request: build the request, and read the reply to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contract.messages import ChatRequest, Message, Text

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from contract.reply import Reply


class AskModel(Protocol):
    """Calls a model by its name and returns its text."""

    def __call__(self, request: ChatRequest, model: str, /) -> Awaitable[str]:
        """Raises what the model's targets raise."""
        ...


def question_to(model: str, frame: str, text: str, max_tokens: int) -> ChatRequest:
    """A request for `model` (a name in the config): `frame` has the instructions, `text` the data."""
    return ChatRequest(
        dialect="openai",
        model=model,
        messages=(Message("system", (Text(frame),)), Message("user", (Text(text),))),
        temperature=0.0,
        max_tokens=max_tokens,
    )


async def collect_text(reply: Reply, most: int = 100_000) -> str:
    """The text of the first choice, up to `most` characters; closes the reply. Raises what the reply raises."""
    texts: list[str] = []
    size = 0
    try:
        while size < most and (deltas := await reply.next()) is not None:
            for piece in (piece for delta in deltas for piece in delta.choices if piece.index == 0):
                texts.append(piece.text)
                size += len(piece.text)
    finally:
        await reply.close()
    return "".join(texts)[:most]
