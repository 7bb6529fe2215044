"""The system prompt in an answer: eight words in a row of it that nobody else has said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from config.guardrails import Then
from guardrails.component import Guardrail, GuardrailParts
from guardrails.span import Span

if TYPE_CHECKING:
    from contract.messages import ChatRequest
    from guardrails.checks import AnswerFinder
    from guardrails.verdict import Policy

WORDS_IN_A_ROW = 8
_WORD = re.compile(r"\w+")


class PromptLeakConfig(Guardrail):
    """The answer must not hold the system prompt."""

    kind: Literal["prompt_leak"] = Field(description="Eight words in a row of the system prompt, in an answer.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    then: Then = Field(default=("block",), description="What happens: flag, mask or block.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder:
        """See `Guardrail.stream_check`."""
        return PromptLeakGuard(self.policy(name, parts))


class PromptLeakFinder:
    """Finds runs of the system prompt's words, whatever stands between them. For one request."""

    def __init__(self, request: ChatRequest) -> None:
        runs: set[tuple[str, ...]] = set()
        public: set[tuple[str, ...]] = set()
        for message in request.messages:
            (runs if message.role in ("system", "developer") else public).update(_runs(message.text))
        # What the user or a tool has said too is no secret.
        self._runs = runs - public

    def find(self, text: str) -> list[Span]:
        """See `guardrails.checks.Finder`."""
        if not self._runs:
            return []
        words = [(match[0].casefold(), match.start(), match.end()) for match in _WORD.finditer(text)]
        spans: list[Span] = []
        for index in range(len(words) - WORDS_IN_A_ROW + 1):
            if tuple(word for word, _, _ in words[index : index + WORDS_IN_A_ROW]) in self._runs:
                start, end = words[index][1], words[index + WORDS_IN_A_ROW - 1][2]
                if spans and start <= spans[-1].end:
                    spans[-1] = Span(spans[-1].start, end, "system_prompt")
                else:
                    spans.append(Span(start, end, "system_prompt"))
        return spans


def _runs(text: str) -> list[tuple[str, ...]]:
    words = [match[0].casefold() for match in _WORD.finditer(text)]
    return [tuple(words[index : index + WORDS_IN_A_ROW]) for index in range(len(words) - WORDS_IN_A_ROW + 1)]


class PromptLeakGuard:
    """Implements `guardrails.checks.AnswerFinder`."""

    spares_sent = False

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def finder_for(self, request: ChatRequest) -> PromptLeakFinder:
        """See `guardrails.checks.AnswerFinder`."""
        return PromptLeakFinder(request)
