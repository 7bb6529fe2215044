"""What the simulator answers, before it is put into a vendor's words."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.simulator.behaviours import Behaviour
from gateway.simulator.schemas import fit

# Words with letters of two and more bytes in them, so that a stream can be cut within one.
TEXT = "Grüße aus dem Süden: the simulator has übersetzt what you asked, and 世界 answers with quite a few words."
TOKENS_PER_CALL = 8
TOKENS_PER_THOUGHT = 3
CHARS_PER_TOKEN = 4
ODD_ENDS = ("enderror", "endmalformed", "endother", "endunknown", "endnone", "endcall")
_GIANT_PLACE = 6


class SimulatedRequest(msgspec.Struct, kw_only=True):
    """A request as far as an answer depends on it."""

    model: str
    serial: str = "0"  # the request's number, for the ids in the answer
    stream: bool = False
    last_text: str = ""
    messages: list[str] = []  # the text of each, the system's too
    prompt_chars: int = 0
    images: int = 0
    tool_results: int = 0
    tools: dict[str, Any] = {}  # name to the JSON schema of its arguments
    must_call: str = ""  # a tool's name, or "*" for any
    schema: Any = None
    json_wanted: bool = False
    count: int = 1
    max_tokens: int | None = None
    stop: list[str] = []
    logprobs: bool = False
    top_logprobs: int = 0
    usage: bool = True
    seed: int | None = None
    says: str = ""  # the words of the answer, if they are given


class SimulatedAnswer(msgspec.Struct, kw_only=True):
    """One choice: thoughts, words or calls, and why it ends (`stop`, `length`, `tools`, `safety`, or an odd end).

    `stop` is the stop sequence that was met.
    """

    thoughts: list[str] = []
    words: list[str] = []
    calls: list[tuple[str, str, dict[str, Any]]] = []
    end: str = "stop"
    stop: str = ""


class Tokens(msgspec.Struct):
    """As a vendor counts them: `cached` are among `prompt`, `thoughts` are among `completion`."""

    prompt: int
    completion: int
    cached: int = 0
    thoughts: int = 0


def answer(asked: SimulatedRequest, behaviour: Behaviour) -> SimulatedAnswer:
    """The answer that `behaviour`, or the request itself, wants."""
    if behaviour.has("empty"):
        return SimulatedAnswer()
    thoughts = ["Let me think ", "about this."] if behaviour.has("reason") else []
    if asked.must_call or any(behaviour.has(word) for word in ("tools", "cutargs", "deepargs")):
        return SimulatedAnswer(thoughts=thoughts, calls=_calls(asked, 2 if behaviour.has("tools") else 1), end="tools")
    text, stop = _stopped(_text(asked, behaviour), asked.stop)
    words = split_words(text)
    end = next((word for word in ODD_ENDS if behaviour.has(word)), "safety" if behaviour.has("safety") else "stop")
    if behaviour.has("giant"):
        words.insert(_GIANT_PLACE, " " + "x" * 1024 * behaviour.number("giant", 1024))
    if behaviour.has("length"):
        words, end = words[: max(1, len(words) // 2)], "length"
    elif asked.max_tokens is not None and len(words) > asked.max_tokens:
        words, end = words[: max(1, asked.max_tokens)], "length"
    return SimulatedAnswer(thoughts=thoughts, words=words, end=end, stop=stop if end == "stop" else "")


def _text(asked: SimulatedRequest, behaviour: Behaviour) -> str:
    if behaviour.has("n"):
        return " ".join(f"word{number}" for number in range(behaviour.number("n", 50)))
    if asked.says and not behaviour.has("echo"):
        return asked.says
    if asked.schema is not None or asked.json_wanted or behaviour.has("json"):
        return msgspec.json.encode(fit(asked.schema or {"type": "object"})).decode()
    text = asked.last_text if behaviour.has("echo") else TEXT
    if asked.images:
        text += f" (saw {asked.images} image{'s' if asked.images > 1 else ''})"
    if asked.tool_results:
        text += f" (saw {asked.tool_results} tool result{'s' if asked.tool_results > 1 else ''})"
    return text


def _stopped(text: str, stops: list[str]) -> tuple[str, str]:
    """The text up to the first stop sequence in it, and that sequence."""
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, ""
    place, stop = min(found)
    return text[:place], stop


def split_words(text: str) -> list[str]:
    """Pieces that join to `text`, a word each."""
    pieces = text.split(" ")
    return [piece if number == 0 else " " + piece for number, piece in enumerate(pieces)]


def _calls(asked: SimulatedRequest, count: int) -> list[tuple[str, str, dict[str, Any]]]:
    name = asked.must_call if asked.must_call not in ("", "*") else next(iter(asked.tools), "lookup")
    arguments = fit(asked.tools.get(name) or {"type": "object"})
    arguments = arguments if isinstance(arguments, dict) else {}
    cities = ("Rome", "Oslo")
    # The calls of one answer differ where it doesn't break the schema.
    vary = "city" in arguments or not arguments
    return [
        (f"call_sim_{asked.serial}_{number}", name, {**arguments, "city": cities[number % 2]} if vary else arguments)
        for number in range(count)
    ]


def tokens(asked: SimulatedRequest, given: SimulatedAnswer, behaviour: Behaviour) -> Tokens:
    """A word is a token, four characters of a prompt are one."""
    cached = behaviour.number("cached")
    thoughts = len(given.thoughts) * TOKENS_PER_THOUGHT
    completion = len(given.words) + len(given.calls) * TOKENS_PER_CALL + thoughts
    prompt = max(cached, asked.prompt_chars // CHARS_PER_TOKEN + 1)
    return Tokens(prompt, completion * asked.count, cached, thoughts * asked.count)
