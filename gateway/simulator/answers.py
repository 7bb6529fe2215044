"""What the simulator answers, before it is put into a vendor's words."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gateway.simulator.behaviours import Behaviour

# Words with letters of two and more bytes in them, so that a stream can be cut within one.
TEXT = "Grüße aus dem Süden: the simulator has übersetzt what you asked, and 世界 answers with quite a few words."


class Asked(msgspec.Struct, kw_only=True):
    """A request as far as an answer depends on it."""

    model: str
    stream: bool = False
    last_text: str = ""
    prompt_chars: int = 0
    images: int = 0
    tool_results: int = 0
    tools: list[str] = []
    must_call: str = ""  # a tool's name, or "*" for any
    schema: Any = None
    json_wanted: bool = False
    count: int = 1
    max_tokens: int | None = None
    stop: list[str] = []
    logprobs: bool = False
    usage: bool = True
    seed: int | None = None


class Answer(msgspec.Struct, kw_only=True):
    """One choice: thoughts, words or calls, and why it ends (`stop`, `length`, `tools`, `safety`)."""

    thoughts: list[str] = []
    words: list[str] = []
    calls: list[tuple[str, str, dict[str, Any]]] = []
    end: str = "stop"


class Tokens(msgspec.Struct):
    """As a vendor counts them."""

    prompt: int
    completion: int
    cached: int = 0
    thoughts: int = 0


def answer(asked: Asked, behaviour: Behaviour) -> Answer:
    """The answer that `behaviour`, or the request itself, wants."""
    if behaviour.has("empty"):
        return Answer()
    thoughts = ["Let me think ", "about this."] if behaviour.has("reason") else []
    if behaviour.has("tools") or asked.must_call:
        return Answer(thoughts=thoughts, calls=_calls(asked, 2 if behaviour.has("tools") else 1), end="tools")
    words = split_words(_text(asked, behaviour))
    end = "safety" if behaviour.has("safety") else "stop"
    if behaviour.has("length"):
        words, end = words[: max(1, len(words) // 2)], "length"
    elif asked.max_tokens is not None and len(words) > asked.max_tokens:
        words, end = words[: max(1, asked.max_tokens)], "length"
    return Answer(thoughts=thoughts, words=words, end=end)


def _text(asked: Asked, behaviour: Behaviour) -> str:
    if behaviour.has("n"):
        return " ".join(f"word{number}" for number in range(behaviour.number("n")))
    if asked.schema is not None or asked.json_wanted or behaviour.has("json"):
        return json.dumps(fit(asked.schema or {"type": "object"}), ensure_ascii=False)
    text = asked.last_text if behaviour.has("echo") else TEXT
    if asked.images:
        text += f" (saw {asked.images} image{'s' if asked.images > 1 else ''})"
    if asked.tool_results:
        text += f" (saw {asked.tool_results} tool results)"
    for stop in asked.stop:
        text = text.split(stop)[0]
    return text


def split_words(text: str) -> list[str]:
    """Pieces that join to `text`, a word each."""
    pieces = text.split(" ")
    return [piece if number == 0 else " " + piece for number, piece in enumerate(pieces)]


def _calls(asked: Asked, count: int) -> list[tuple[str, str, dict[str, Any]]]:
    name = asked.must_call if asked.must_call not in ("", "*") else (asked.tools or ["lookup"])[0]
    cities = ("Rome", "Oslo")
    return [(f"call_sim_{number}", name, {"city": cities[number % 2]}) for number in range(count)]


def tokens(asked: Asked, given: Answer, behaviour: Behaviour) -> Tokens:
    """A word is a token, four characters of a prompt are one."""
    cached = behaviour.number("cached")
    thoughts = len(given.thoughts) * 3
    completion = len(given.words) + len(given.calls) * 8 + thoughts
    return Tokens(max(cached, asked.prompt_chars // 4 + 1), completion * asked.count, cached, thoughts)


def fit(schema: Any, depth: int = 0) -> Any:
    """A small value that fits a JSON schema."""
    if not isinstance(schema, dict) or depth > 20:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return fit(schema[key][0], depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    kind = str(kind or "object").lower()
    if kind == "object":
        return {name: fit(each, depth + 1) for name, each in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [fit(schema.get("items") or {"type": "string"}, depth + 1)]
    return {"string": "text", "integer": 7, "number": 1.5, "boolean": True}.get(kind)
