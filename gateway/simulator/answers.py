"""The simulator's responses, before they are written in a vendor's format."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.simulator.behaviours import Behaviour
from gateway.simulator.schemas import fit

# Text with multi-byte characters, so that a stream can be cut within one.
TEXT = "Grüße aus dem Süden: the simulator has übersetzt what you asked, and 世界 answers with quite a few words."
TOKENS_PER_CALL = 8
TOKENS_PER_THOUGHT = 3
CHARS_PER_TOKEN = 4
UNUSUAL_ENDS = ("enderror", "endmalformed", "endother", "endunknown", "endnone", "endcall")
_GIANT_POSITION = 6


class SimulatedRequest(msgspec.Struct, kw_only=True):
    """The parts of a request that the response depends on."""

    model: str
    serial: str = "0"  # the request's number, for ids in the response
    stream: bool = False
    last_text: str = ""
    messages: list[str] = []  # the text of each message, including the system message
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
    says: str = ""  # the text of the response, if configured


class SimulatedAnswer(msgspec.Struct, kw_only=True):
    """One choice: reasoning, text or calls, and its end (`stop`, `length`, `tools`, `safety`, or an unusual end).

    `stop` is the stop sequence that ended it.
    """

    thoughts: list[str] = []
    words: list[str] = []
    calls: list[tuple[str, str, dict[str, Any]]] = []
    end: str = "stop"
    stop: str = ""


class Tokens(msgspec.Struct):
    """Token counts as vendors report them: `prompt` includes `cached`, `completion` includes `thoughts`."""

    prompt: int
    completion: int
    cached: int = 0
    thoughts: int = 0


def answer(request: SimulatedRequest, behaviour: Behaviour) -> SimulatedAnswer:
    """The response for `behaviour` and the request."""
    if behaviour.has("empty"):
        return SimulatedAnswer()
    thoughts = ["Let me think ", "about this."] if behaviour.has("reason") else []
    if request.must_call or any(behaviour.has(word) for word in ("tools", "cutargs", "deepargs")):
        calls = _calls(request, 2 if behaviour.has("tools") else 1)
        return SimulatedAnswer(thoughts=thoughts, calls=calls, end="tools")
    text, stop = _stop_at(_text(request, behaviour), request.stop)
    words = split_words(text)
    end = next((word for word in UNUSUAL_ENDS if behaviour.has(word)), "safety" if behaviour.has("safety") else "stop")
    if behaviour.has("giant"):
        words.insert(_GIANT_POSITION, " " + "x" * 1024 * behaviour.number("giant", 1024))
    if behaviour.has("length"):
        words, end = words[: max(1, len(words) // 2)], "length"
    elif request.max_tokens is not None and len(words) > request.max_tokens:
        words, end = words[: max(1, request.max_tokens)], "length"
    return SimulatedAnswer(thoughts=thoughts, words=words, end=end, stop=stop if end == "stop" else "")


def _text(request: SimulatedRequest, behaviour: Behaviour) -> str:
    if behaviour.has("n"):
        return " ".join(f"word{number}" for number in range(behaviour.number("n", 50)))
    if request.says and not behaviour.has("echo"):
        return request.says
    if request.schema is not None or request.json_wanted or behaviour.has("json"):
        return msgspec.json.encode(fit(request.schema or {"type": "object"})).decode()
    text = request.last_text if behaviour.has("echo") else TEXT
    if request.images:
        text += f" (saw {request.images} image{'s' if request.images > 1 else ''})"
    if request.tool_results:
        text += f" (saw {request.tool_results} tool result{'s' if request.tool_results > 1 else ''})"
    return text


def _stop_at(text: str, stops: list[str]) -> tuple[str, str]:
    """The text up to the first stop sequence, and that sequence."""
    matches = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not matches:
        return text, ""
    place, stop = min(matches)
    return text[:place], stop


def split_words(text: str) -> list[str]:
    """Splits `text` into words that join to `text`."""
    pieces = text.split(" ")
    return [piece if number == 0 else " " + piece for number, piece in enumerate(pieces)]


def _calls(request: SimulatedRequest, count: int) -> list[tuple[str, str, dict[str, Any]]]:
    name = request.must_call if request.must_call not in ("", "*") else next(iter(request.tools), "lookup")
    arguments = fit(request.tools.get(name) or {"type": "object"})
    arguments = arguments if isinstance(arguments, dict) else {}
    cities = ("Rome", "Oslo")
    # The calls of one response differ if the schema allows it.
    vary = "city" in arguments or not arguments
    return [
        (f"call_sim_{request.serial}_{number}", name, {**arguments, "city": cities[number % 2]} if vary else arguments)
        for number in range(count)
    ]


def tokens(request: SimulatedRequest, reply: SimulatedAnswer, behaviour: Behaviour) -> Tokens:
    """Counts a word of output as a token, and four characters of a prompt as one."""
    cached = behaviour.number("cached")
    thoughts = len(reply.thoughts) * TOKENS_PER_THOUGHT
    completion = len(reply.words) + len(reply.calls) * TOKENS_PER_CALL + thoughts
    prompt = max(cached, request.prompt_chars // CHARS_PER_TOKEN + 1)
    return Tokens(prompt, completion * request.count, cached, thoughts * request.count)
