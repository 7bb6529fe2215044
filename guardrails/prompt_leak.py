"""Finds the system prompt in an answer: eight consecutive words of it that no other message contains."""

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

RUN_WORDS = 8
_WORD = re.compile(r"\w+")


class PromptLeakConfig(Guardrail):
    """The answer must not contain the system prompt."""

    kind: Literal["prompt_leak"] = Field(description="Eight consecutive words of the system prompt in an answer.")
    sides: ClassVar[frozenset[str]] = frozenset({"output"})
    then: Then = Field(default=("block",), description="What happens: flag, mask or block.")
    steps: ClassVar[frozenset[str]] = frozenset({"flag", "mask", "block"})

    def stream_check(self, name: str, parts: GuardrailParts) -> AnswerFinder:
        """See `Guardrail.stream_check`."""
        return PromptLeakGuard(self.policy(name, parts))


class PromptLeakFinder:
    """Finds runs of the system prompt's words, ignoring punctuation. For one request."""

    def __init__(self, request: ChatRequest) -> None:
        runs: set[tuple[str, ...]] = set()
        public: set[tuple[str, ...]] = set()
        for message in request.messages:
            (runs if message.role in ("system", "developer") else public).update(_runs(message.text))
        # Text that the user or a tool also wrote is not secret.
        self._runs = runs - public

    def find(self, text: str) -> list[Span]:
        """See `guardrails.checks.Finder`."""
        if not self._runs:
            return []
        words = [(match[0].casefold(), match.start(), match.end()) for match in _WORD.finditer(text)]
        spans: list[Span] = []
        for index in range(len(words) - RUN_WORDS + 1):
            if tuple(word for word, _, _ in words[index : index + RUN_WORDS]) in self._runs:
                start, end = words[index][1], words[index + RUN_WORDS - 1][2]
                if spans and start <= spans[-1].end:
                    spans[-1] = Span(spans[-1].start, end, "system_prompt")
                else:
                    spans.append(Span(start, end, "system_prompt"))
        return spans


def _runs(text: str) -> list[tuple[str, ...]]:
    words = [match[0].casefold() for match in _WORD.finditer(text)]
    return [tuple(words[index : index + RUN_WORDS]) for index in range(len(words) - RUN_WORDS + 1)]


class PromptLeakGuard:
    """Implements `guardrails.checks.AnswerFinder`."""

    spares_sent = False

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def finder_for(self, request: ChatRequest) -> PromptLeakFinder:
        """See `guardrails.checks.AnswerFinder`."""
        return PromptLeakFinder(request)
