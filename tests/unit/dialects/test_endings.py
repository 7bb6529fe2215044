"""Ends that claim what the answer before them does not hold."""

from __future__ import annotations

import pytest

from contract.deltas import ChoiceDelta, Delta, FinishReason, ToolCallDelta
from contract.errors import IncompleteReply, MalformedReply, ServerFault
from gateway.dialects.buffered_body import find_text
from gateway.dialects.endings import Endings, finish_of

WHOLE = pytest.mark.guarantee("truth", "An answer with a broken end is an error, never a clean end")


def ended(finish: FinishReason, arguments: str | None = None) -> Delta:
    calls = () if arguments is None else (ToolCallDelta(0, "c", "f", arguments),)
    return Delta((ChoiceDelta(tool_calls=calls), ChoiceDelta(finish=finish)), raw=b"{}")


@WHOLE
def test_broken_ends_fail_and_keep_what_was_generated() -> None:
    cases: list[tuple[Delta, type[Exception]]] = [
        (ended("error"), ServerFault),
        (ended("malformed"), MalformedReply),
        (ended("tool_calls"), MalformedReply),
        (ended("tool_calls", '{"a": '), IncompleteReply),
        (ended("stop", "[" * 5000), MalformedReply),
    ]
    for delta, error in cases:
        with pytest.raises(error) as raised:
            Endings().check([delta])
        assert list(raised.value.before) == [delta]  # type: ignore[attr-defined]


def test_calls_that_end_by_themselves_end_as_calls() -> None:
    assert Endings().check([ended("stop", "{}")])[0].choices[-1].finish == "tool_calls"
    assert Endings().check([ended("length", '{"a": ')])[0].choices[-1].finish == "length"


@WHOLE
def test_unknown_reasons_are_read_by_their_words() -> None:
    known: dict[str, FinishReason] = {"stop": "stop"}
    said = ["stop", "error", "abort", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "something_new"]
    assert [finish_of(word, known) for word in said] == ["stop", "error", "error", "malformed", "malformed", "other"]


@pytest.mark.guarantee("money", "The text of a truncated buffered answer is counted for its price")
def test_words_are_found_in_half_a_body() -> None:
    assert find_text(b'{"choices":[{"message":{"content":"Gr\\u00fc\\u00dfe an') == "Grüße an"
    assert find_text(b"<html>Sign in</html>") == ""
