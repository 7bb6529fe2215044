"""A question put to a model, and its reply read to its end: for those that ask one on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from contract.messages import ChatRequest, Message, Text

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from contract.reply import Reply


class AskModel(Protocol):
    """Asks a model by its name, and gives its words."""

    def __call__(self, request: ChatRequest, model: str, /) -> Awaitable[str]:
        """Raises what the model's targets raise."""
        ...


def question_to(model: str, frame: str, text: str, max_tokens: int) -> ChatRequest:
    """What is asked of `model` (a name in the config): `frame` says what is wanted, `text` is what it is about."""
    return ChatRequest(
        dialect="openai",
        model=model,
        messages=(Message("system", (Text(frame),)), Message("user", (Text(text),))),
        temperature=0.0,
        max_tokens=max_tokens,
    )


async def collect_text(reply: Reply, most: int = 100_000) -> str:
    """The words of the first choice, up to `most` letters; closes the reply. Raises what the reply raises."""
    said: list[str] = []
    size = 0
    try:
        while size < most and (deltas := await reply.next()) is not None:
            for piece in (piece for delta in deltas for piece in delta.choices if piece.index == 0):
                said.append(piece.text)
                size += len(piece.text)
    finally:
        await reply.close()
    return "".join(said)[:most]
