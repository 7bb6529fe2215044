"""Whether an answer that says that it has ended is whole: the same for every dialect.

A reader reads what its vendor says; here the end is held against what came before it. An answer whose end says that
something went wrong, that calls a tool without a call, or whose last call is half written, fails: it never passes for
a whole one.
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


# What servers say that speak a vendor's dialect with another's words, or with their own, in small letters: `eos` is
# Together's, `eos_token` Hugging Face's, `COMPLETE` Cohere's, `model_length` Mistral's.
_ELSEWHERE: Mapping[str, FinishReason] = {
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
    """A vendor's reason as ours. One that nobody knows is `other`, unless its words say that something broke."""
    found = known.get(reason) or _ELSEWHERE.get(reason.lower())
    if found is not None:
        return found
    if _MALFORMED.search(reason):
        return "malformed"
    return "error" if _FAILED.search(reason) else "other"


class Endings:
    """Watches one reply, of however many choices."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def take(self, deltas: list[Delta]) -> list[Delta]:
        """The deltas, with `stop` as `tool_calls` where a choice has called. Raises `UpstreamError` for a broken end.

        The error has all of `deltas` before it: they were generated.
        """
        for place, delta in enumerate(deltas):
            for choice in delta.choices:
                if choice.finish or choice.tool_calls or choice.extra:
                    try:
                        deltas[place] = self._take(delta)
                    except UpstreamError as error:
                        error.before = deltas
                        raise
                    break
        return deltas

    def _take(self, delta: Delta) -> Delta:
        for choice in delta.choices:
            if choice.tool_calls or choice.extra:
                self._choices.setdefault(choice.index, _Choice()).take(choice)
        choices = tuple([self._ended(choice) if choice.finish else choice for choice in delta.choices])
        # The bytes stay: they say the same in the vendor's own way.
        return delta if choices == delta.choices else msgspec.structs.replace(delta, choices=choices)

    def _ended(self, choice: ChoiceDelta) -> ChoiceDelta:
        finish = choice.finish
        if finish == "error":
            raise ServerFault("The provider ended its answer with an error")
        if finish == "malformed":
            raise MalformedReply("The provider ended its answer as malformed")
        if finish not in ("stop", "tool_calls"):
            return choice
        known = self._choices.get(choice.index)
        if finish == "tool_calls" and known is None:
            raise MalformedReply("The provider's answer ends with a tool call that is not there")
        if known is None or not known.calls:
            return choice
        for pieces in known.calls.values():
            _check(pieces)
        return choice if finish == "tool_calls" else msgspec.structs.replace(choice, finish="tool_calls")


class _Choice:
    """What a choice has called so far. It is also known for what only its own dialect can say: that may be a call."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls: dict[int, list[str]] = {}

    def take(self, choice: ChoiceDelta) -> None:
        for call in choice.tool_calls:
            # A custom tool's input is no JSON.
            self.calls.setdefault(call.index, []).append("" if call.custom else call.arguments)


def _check(pieces: list[str]) -> None:
    """Arguments that are no JSON are the model's own mistake, and its caller's to see; half of them are a cut."""
    arguments = "".join(pieces)
    if not arguments.strip():
        return
    try:
        value = _decode(arguments)
    except RecursionError:
        value, deep = None, True
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            raise IncompleteReply("The provider's answer ends within the arguments of a tool call") from None
        return
    except UnicodeEncodeError:
        return
    else:
        deep = too_deep(value, arguments.count("[") + arguments.count("{"))
    if deep:
        raise MalformedReply("The arguments of a tool call are nested too deeply")
