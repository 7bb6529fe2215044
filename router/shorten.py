"""Shortens a conversation that is too long for every target: drops turns, then cuts the middle of the longest text."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from contract.messages import ChatRequest, Message, Part, Text, ToolResult
from contract.prompt_tokens import prompt_tokens

Way: TypeAlias = Literal["oldest", "middle"]
LEFT_OUT = "\n[... removed because the text is too long ...]\n"
# A text is not cut below this number of characters.
_LEAST_CHARACTERS = 400
_SHRINK = 0.7


def shorten(request: ChatRequest, tokens: int, way: Way) -> ChatRequest:
    """Shortens the prompt to `tokens` (estimated), as far as possible.

    Instructions and the last turn stay. `oldest` drops the first turns first, `middle` those between the first and the
    last. A turn is dropped completely, with its tool calls and tool results.
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
    """Turns: each begins with a user message. Without instructions, which are never dropped."""
    turns: list[list[Message]] = []
    for message in messages:
        if message.role == "system":
            continue
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def _with(request: ChatRequest, turns: list[list[Message]]) -> ChatRequest:
    remaining = {id(message) for turn in turns for message in turn}
    messages = tuple(each for each in request.messages if each.role == "system" or id(each) in remaining)
    return msgspec.structs.replace(request, messages=messages)


def _cut_longest(request: ChatRequest, share: float) -> ChatRequest | None:
    """Cuts the middle of the longest text of a message or tool result; None if all texts are short."""
    length, place, part_place = max(
        (
            (len(_text(part)), place, part_place)
            for place, message in enumerate(request.messages)
            for part_place, part in enumerate(message.parts)
        ),
        default=(0, 0, 0),
    )
    if length <= _LEAST_CHARACTERS:
        return None
    message = request.messages[place]
    part = message.parts[part_place]
    text = _text(part)
    left = max(_LEAST_CHARACTERS // 2, int(length * min(_SHRINK, share)) - len(LEFT_OUT))
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
