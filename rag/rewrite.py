"""A follow-up becomes a question that stands alone: by a model, only where the conversation needs it, or by rules.

"How about Emily Doe?" after "When did John Doe last buy something?" is "When did Emily Doe last buy something?".
Without a model, or when it is slow, the words of the turn before are added, which is enough to search by.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gateway.contract.errors import GatehouseError
from gateway.contract.messages import ChatRequest, Message, Text
from gateway.contract.terms import content_words, terms

if TYPE_CHECKING:
    from rag.tables.source import Asks

TIMEOUT_S = 4.0
_TURNS = 6
_MAX_TURN = 1500
_SHORT = 4
_REFERS = re.compile(
    r"(?i)\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|there|then|one|ones|same|"
    r"former|latter|above|previous|other|another|else|both|either|er|sie|ihn|ihm|ihr|ihre|sein|seine|davon|dazu|das|dies|"
    r"il|elle|lui|leur|cela|celui|él|ella|eso|esto|lo|la)\b"
    r"|^\W*(?:and|but|so|or|also|what about|how about|und|aber|et|y|e)\b"
)
_FRAME = """Rewrite the last question of the conversation so that it stands alone: put in the names and things that it
refers to. Keep its language and its meaning, and answer nothing. What it refers to must stand in the conversation;
never guess. Reply with one JSON object:
{"question": "...", "unknown": "what it refers to that is nowhere said, or empty"}"""
_JSON = re.compile(r"\{.*\}", re.DOTALL)


class Rewritten(msgspec.Struct, frozen=True):
    """The question to search by; `unknown` is what it refers to that nobody has said; `how` it was made."""

    question: str
    unknown: str = ""
    how: str = "as is"


class Rewriter:
    """Rewrites last questions."""

    def __init__(self, model: str | None, timeout_s: float = TIMEOUT_S) -> None:
        """`model` rewrites; None leaves it to the rules."""
        self._model = model
        self._timeout_s = timeout_s

    async def standalone(self, messages: Sequence[Message], ask: Asks) -> Rewritten:
        """The last question of a conversation, as it would be asked by itself."""
        turns = [each for each in messages if each.role in ("user", "assistant") and each.text.strip()]
        question = turns[-1].text.strip() if turns else ""
        if not needs_rewriting(turns):
            return Rewritten(question)
        if self._model is not None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    said = await ask(self._request(turns), self._model)
            except (GatehouseError, TimeoutError):
                said = ""
            if (rewritten := _read(said)) is not None:
                return rewritten
        return Rewritten(_by_rules(turns), how="rules")

    def _request(self, turns: Sequence[Message]) -> ChatRequest:
        told = "\n".join(f"{each.role}: {each.text[:_MAX_TURN]}" for each in turns[-_TURNS:])
        return ChatRequest(
            dialect="openai",
            model=self._model or "",
            messages=(Message("system", (Text(_FRAME),)), Message("user", (Text(told),))),
            temperature=0.0,
            max_tokens=300,
        )


def needs_rewriting(turns: Sequence[Message]) -> bool:
    """Whether the last question refers to what was said before, or is too short to stand alone."""
    if len(turns) < 2:
        return False
    question = turns[-1].text
    return len(content_words(question)) <= _SHORT or _REFERS.search(question) is not None


def _read(said: str) -> Rewritten | None:
    match = _JSON.search(said)
    try:
        found = json.loads(match[0]) if match is not None else None
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("question"), str) or not found["question"].strip():
        return None
    unknown = found.get("unknown")
    return Rewritten(found["question"].strip(), unknown.strip() if isinstance(unknown, str) else "", "model")


def _by_rules(turns: Sequence[Message]) -> str:
    """The question, and what the user asked before it was about."""
    question = turns[-1].text.strip()
    known = set(terms(question))
    before = next((each.text for each in reversed(turns[:-1]) if each.role == "user"), "")
    added = [word for word in dict.fromkeys(re.findall(r"[\w'-]+", before)) if set(terms(word)) - known]
    return f"{question} ({' '.join(added[:20])})" if added else question
