"""Hands a conversation over to a person: detects when that is due and sets the answer to the caller."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from config.struct import Flag, Whole
from guardrails.component import Guardrail, GuardrailParts
from guardrails.keywords import KeywordFinder

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.checks import InputCheck
    from guardrails.verdict import Policy

PHRASES = (
    "speak to a human",
    "talk to a human",
    "talk to a person",
    "speak to a person",
    "human agent",
    "real person",
    "live agent",
    "speak to an agent",
    "talk to an agent",
    "customer service representative",
    "speak to your manager",
    "mit einem Menschen sprechen",
    "mit einem Mitarbeiter sprechen",
    "echten Menschen",
    "parler à un humain",
    "parler à un conseiller",
    "hablar con una persona",
    "hablar con un agente",
    "parlare con un operatore",
    "parlare con una persona",
    "met een medewerker spreken",
    "met een mens spreken",
)
_MIN_SIMILARITY = 0.85
# The number of recent turns that are compared with the last question.
_COMPARED = 30
_LETTERS = re.compile(r"[^\W\d_]")


class HandoverConfig(Guardrail):
    """Hands over a conversation if the user asks for a person, repeats a question, shouts, or takes too many turns."""

    kind: Literal["handover"] = Field(description="Conversations that should go to a person.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    phrases: tuple[str, ...] = Field(
        default=(), description="Phrases that ask for a person, in addition to the built-in ones."
    )
    after_turns: Whole = Field(
        default=0, ge=0, description="The number of user turns after which to hand over; 0 for never."
    )
    repeated: Whole = Field(
        default=3, ge=0, description="How often the user may ask the same question before a hand-over; 0 for unlimited."
    )
    angry: Flag = Field(default=True, description="Whether to hand over when the user shouts.")
    say: str = Field(
        default="I am handing this over to a person, who will answer you.", description="The answer to the caller."
    )

    @property
    def actions_shown(self) -> tuple[str, ...]:
        """See `GuardrailConfig.actions_shown`."""
        return ("human",)

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        policy = self.policy(name, parts, {"*": "human"}, self.say)
        phrases = (*PHRASES, *self.phrases)
        return HandoverGuard(policy, phrases, self.after_turns, self.repeated, angry=self.angry)


class HandoverGuard:
    """Detects when a conversation should go to a person."""

    def __init__(self, policy: Policy, phrases: Sequence[str], after_turns: int, repeated: int, *, angry: bool) -> None:
        """Hands over after `after_turns` user turns or `repeated` equal questions (0: never)."""
        self.policy = policy
        self._phrases = KeywordFinder({"asked for": phrases}, exact=True)
        self._after_turns = after_turns
        self._repeated = repeated
        self._angry = angry

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request if no hand-over is due. Raises `StockAnswer`."""
        if stage == "input" and (reason := self._reason(request)):
            self.policy.decide({reason: 1}, stage, exchange)
        return request

    def _reason(self, request: ChatRequest) -> str:
        turns = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
        if not turns:
            return ""
        last = turns[-1]
        if self._phrases.find(last):
            return "asked for"
        if self._after_turns and len(turns) > self._after_turns:
            return "too many turns"
        if self._repeated and sum(_is_similar(last, turn) for turn in turns[-_COMPARED:]) >= self._repeated:
            return "asked again and again"
        return "angry" if self._angry and _shouts(last) else ""


def _is_similar(a: str, b: str) -> bool:
    a, b = a.casefold()[:500], b.casefold()[:500]
    return a == b or difflib.SequenceMatcher(None, a, b).ratio() >= _MIN_SIMILARITY


def _shouts(text: str) -> bool:
    letters = _LETTERS.findall(text)
    return (len(letters) >= 12 and sum(letter.isupper() for letter in letters) > 0.8 * len(letters)) or "!!!" in text
