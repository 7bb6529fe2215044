"""A conversation that is too long for every target made shorter: turns go, at last the middle of the longest text."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from contract.messages import ChatRequest, Message, Part, Text, ToolResult
from contract.prompt_tokens import prompt_tokens

Way: TypeAlias = Literal["oldest", "middle"]
LEFT_OUT = "\n[... left out, for it was too long ...]\n"
# A text is not cut below so many letters.
_LEAST_LETTERS = 400
_SHRINK = 0.7


def shorten(request: ChatRequest, tokens: int, way: Way) -> ChatRequest:
    """The request with a prompt of at most `tokens` (estimated), as far as that is possible.

    Instructions and the last question, with what follows it, stay. `oldest` lets the first turns go first, `middle`
    those between the first and the last. A turn goes whole, with its calls and what the tools said to them.
    """
    turns = _turns(request.messages)
    while len(turns) > 1 and prompt_tokens(_with(request, turns)) > tokens:
        place = 0 if way == "oldest" else (len(turns) - 1) // 2
        del turns[place]
    request = _with(request, turns)
    while (size := prompt_tokens(request)) > tokens:
        shorter = _cut_longest(request, tokens / size)
        if shorter is None:
            break
        request = shorter
    return request


def _turns(messages: tuple[Message, ...]) -> list[list[Message]]:
    """What a user says with all that follows up to the next time. Instructions are left out here: they stay."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _with(request: ChatRequest, turns: list[list[Message]]) -> ChatRequest:
    kept = {id(message) for turn in turns for message in turn}
    messages = tuple(each for each in request.messages if each.role == "system" or id(each) in kept)
    return msgspec.structs.replace(request, messages=messages)


def _cut_longest(request: ChatRequest, share: float) -> ChatRequest | None:
    """The longest text, said or told by a tool, without its middle; None where all texts are short."""
    length, place, part_place = max(
        (
            (len(_text(part)), place, part_place)
            for place, message in enumerate(request.messages)
            for part_place, part in enumerate(message.parts)
        ),
        default=(0, 0, 0),
    )
    if length <= _LEAST_LETTERS:
        return None
    message = request.messages[place]
    part = message.parts[part_place]
    text = _text(part)
    left = max(_LEAST_LETTERS // 2, int(length * min(_SHRINK, share)) - len(LEFT_OUT))
    head = left // 2
    cut = text[:head] + LEFT_OUT + text[length - (left - head) :]
    new = (
        msgspec.structs.replace(part, parts=(Text(cut),))
        if isinstance(part, ToolResult)
        else msgspec.structs.replace(part, text=cut)
    )
    changed = msgspec.structs.replace(
        message, parts=(*message.parts[:part_place], new, *message.parts[part_place + 1 :])
    )
    messages = (*request.messages[:place], changed, *request.messages[place + 1 :])
    return msgspec.structs.replace(request, messages=messages)


def _text(part: Part) -> str:
    if isinstance(part, ToolResult):
        return "".join(each.text for each in part.parts if isinstance(each, Text))
    return part.text if isinstance(part, Text) else ""
