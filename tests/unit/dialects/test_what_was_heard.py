"""What had been said before an error in the same piece of a stream has been paid for, and is told with the error."""

from __future__ import annotations

import pytest

from contract.deltas import Usage
from contract.errors import UpstreamError
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.gemini_generate import GeminiGenerate
from gateway.dialects.openai_chat import OpenAIChat
from gateway.simulator.answers import SimulatedAnswer, SimulatedRequest, Tokens
from gateway.simulator.behaviours import Behaviour
from gateway.simulator.wire_anthropic import AnthropicWire
from gateway.simulator.wire_gemini import GeminiWire
from gateway.simulator.wire_openai import OpenAIWire

# With the number of events up to the last word.
PAIRS = [
    (OpenAIChat(), OpenAIWire(), 4),
    (AnthropicMessages(), AnthropicWire("2023-06-01"), 5),
    (GeminiGenerate(), GeminiWire(), 3),
]
every = pytest.mark.parametrize(("dialect", "wire", "events"), PAIRS, ids=["openai", "anthropic", "gemini"])
SAID = SimulatedAnswer(words=["one", " two", " three"])


@every
@pytest.mark.parametrize("end", ["error", "broken"])
def test_words_before_an_error_come_with_it(
    dialect: OpenAIChat | AnthropicMessages | GeminiGenerate,
    wire: OpenAIWire | AnthropicWire | GeminiWire,
    events: int,
    end: str,
) -> None:
    frames = wire.events(SimulatedRequest(model="m", stream=True), SAID, Tokens(5, 3), Behaviour({}))
    last = wire.error_event() if end == "error" else b'data: {"broken": \n\n'
    reader = dialect.reply_reader(stream=True)
    with pytest.raises(UpstreamError) as raised:
        reader.feed(b"".join(frames[:events]) + last)
    heard = [choice.text for delta in raised.value.before for choice in delta.choices]
    assert "".join(heard) == "one two three"


def test_no_usage_is_not_a_usage_of_nothing() -> None:
    wire, dialect = AnthropicWire("2023-06-01"), AnthropicMessages()
    silent = Behaviour({"nousage": -1})
    asked = SimulatedRequest(model="m", stream=True)
    reader = dialect.reply_reader(stream=True)
    deltas = reader.feed(b"".join(wire.events(asked, SAID, Tokens(5, 3), silent)))
    assert {delta.usage for delta in [*deltas, *reader.finish()]} == {None}
    reader = dialect.reply_reader(stream=False)
    reader.feed(
        b'{"type":"message","role":"assistant","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn"}'
    )
    assert reader.finish()[0].usage is None
    reader = dialect.reply_reader(stream=True)
    deltas = reader.feed(b"".join(wire.events(asked, SAID, Tokens(5, 3), Behaviour({}))))
    assert deltas[-1].usage == Usage(5, 3)
