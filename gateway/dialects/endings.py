"""Checks whether a response that has ended is complete. The same for every dialect.

The end of a response is compared with its content. A response fails if its finish reason signals an error, if it
announces a tool call without one, or if its last call is incomplete. It is never treated as complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from contract.deltas import ChoiceDelta, Delta, FinishReason
from contract.errors import IncompleteReply, MalformedReply, ServerFault, UpstreamError
from gateway.dialects.fields import too_deep

_decode = msgspec.json.Decoder().decode
_MALFORMED = re.compile(r"malformed|invalid|unexpected|too_many|missing", re.IGNORECASE)
_FAILED = re.compile(r"error|fail|abort|cancel|time_?out|interrupt|overload|disconnect|unavailable", re.IGNORECASE)


# Finish reasons of compatible servers that use another vendor's values or their own, in lower case: `eos` is
# Together's, `eos_token` Hugging Face's, `COMPLETE` Cohere's, `model_length` Mistral's.
_COMPATIBLE_SERVERS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "complete": "stop",
    "completed": "stop",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
}


def finish_of(reason: str, known: Mapping[str, FinishReason]) -> FinishReason:
    """Maps a vendor's finish reason. An unknown one is `other`, unless its name suggests an error."""
    finish = known.get(reason) or _COMPATIBLE_SERVERS.get(reason.lower())
    if finish is not None:
        return finish
    if _MALFORMED.search(reason):
        return "malformed"
    return "error" if _FAILED.search(reason) else "other"


class Endings:
    """Checks the ends of all choices of one reply."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def check(self, deltas: list[Delta]) -> list[Delta]:
        """Returns the deltas, with `stop` replaced by `tool_calls` if a choice has calls.

        Raises `UpstreamError` for an inconsistent end. The error's `before` holds all of `deltas`, because they were
        generated and are billed.
        """
        for place, delta in enumerate(deltas):
            for choice in delta.choices:
                if choice.finish or choice.tool_calls or choice.extra:
                    try:
                        deltas[place] = self._check_delta(delta)
                    except UpstreamError as error:
                        error.before = deltas
                        raise
                    break
        return deltas

    def _check_delta(self, delta: Delta) -> Delta:
        for choice in delta.choices:
            if choice.tool_calls or choice.extra:
                self._choices.setdefault(choice.index, _Choice()).add(choice)
        choices = tuple([self._check_end(choice) if choice.finish else choice for choice in delta.choices])
        # The raw bytes stay: they mean the same in the vendor's format.
        return delta if choices == delta.choices else msgspec.structs.replace(delta, choices=choices)

    def _check_end(self, choice: ChoiceDelta) -> ChoiceDelta:
        finish = choice.finish
        if finish == "error":
            raise ServerFault("The provider ended its response with an error")
        if finish == "malformed":
            raise MalformedReply("The provider marked its response as malformed")
        if finish not in ("stop", "tool_calls"):
            return choice
        known = self._choices.get(choice.index)
        if finish == "tool_calls" and known is None:
            raise MalformedReply("The provider announced a tool call but sent none")
        if known is None or not known.calls:
            return choice
        for pieces in known.calls.values():
            _check_arguments(pieces)
        return choice if finish == "tool_calls" else msgspec.structs.replace(choice, finish="tool_calls")


class _Choice:
    """The calls of a choice so far. A choice with dialect-specific parts is also tracked: these may be calls."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: dict[int, list[str]] = {}

    def add(self, choice: ChoiceDelta) -> None:
        for call in choice.tool_calls:
            # A custom tool's input is not JSON.
            self.calls.setdefault(call.index, []).append("" if call.custom else call.arguments)


def _check_arguments(pieces: list[str]) -> None:
    """Truncated arguments are an incomplete response. Other invalid JSON is the model's error: the caller gets it."""
    arguments = "".join(pieces)
    if not arguments.strip():
        return
    try:
        value = _decode(arguments)
    except RecursionError:
        value, deep = None, True
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            raise IncompleteReply("The provider's response ends within the arguments of a tool call") from None
        return
    except UnicodeEncodeError:
        return
    else:
        deep = too_deep(value, arguments.count("[") + arguments.count("{"))
    if deep:
        raise MalformedReply("The arguments of a tool call are nested too deeply")
