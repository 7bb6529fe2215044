"""Collects a stream of deltas into one response, for the writers of buffered responses."""

from __future__ import annotations

from typing import Any

from contract.deltas import ChoiceDelta, Delta, FinishReason, Own, TokenLogprob, ToolCallDelta, Usage


class CollectedCall:
    """A tool call, collected from its deltas."""

    __slots__ = ("_pieces", "custom", "id", "index", "name", "own", "signature")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.signature = ""
        self.custom = False
        self.own: Own = None
        self._pieces: list[str] = []

    @property
    def arguments(self) -> str:
        """The JSON text."""
        return "".join(self._pieces)

    def add(self, delta: ToolCallDelta) -> None:
        """Adds a delta."""
        self.id = self.id or delta.id
        self.name = self.name or delta.name
        self.signature = self.signature or delta.signature
        self.custom = self.custom or delta.custom
        if delta.own:
            self.own = {**(self.own or {}), **delta.own}
        if delta.arguments:
            self._pieces.append(delta.arguments)


class CollectedChoice:
    """One choice of a response. `text` and `reasoning` are joined over all blocks."""

    __slots__ = ("_calls", "_reasoning", "_refusal", "_text", "extra", "finish", "index", "logprobs", "stop_sequence")

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish: FinishReason = ""
        self.stop_sequence = ""
        self.logprobs: list[TokenLogprob] = []
        self.extra: dict[str, Any] = {}
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, CollectedCall] = {}

    @property
    def text(self) -> str:
        """The complete text."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The complete reasoning."""
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        """The complete refusal."""
        return "".join(self._refusal)

    @property
    def tool_calls(self) -> list[CollectedCall]:
        """The calls by index."""
        return [self._calls[index] for index in sorted(self._calls)]

    def add(self, delta: ChoiceDelta) -> None:
        """Adds a delta. Lists in `extra` are joined, other values replaced."""
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for call in delta.tool_calls:
            self._calls.setdefault(call.index, CollectedCall(call.index)).add(call)
        self.logprobs += delta.logprobs
        self.finish = delta.finish or self.finish
        self.stop_sequence = delta.stop_sequence or self.stop_sequence
        for key, value in (delta.extra or {}).items():
            previous = self.extra.get(key)
            self.extra[key] = previous + value if isinstance(previous, list) and isinstance(value, list) else value


class Collector:
    """Collects deltas; `deltas` counts them."""

    __slots__ = ("_choices", "deltas", "id", "model", "usage")

    def __init__(self) -> None:
        self._choices: dict[int, CollectedChoice] = {}
        self.deltas = 0
        self.id = ""
        self.model = ""
        self.usage: Usage | None = None

    def feed(self, deltas: list[Delta]) -> None:
        """Adds deltas in their order."""
        for delta in deltas:
            self.deltas += 1
            self.id = self.id or delta.id
            self.model = self.model or delta.model
            if delta.usage is not None:
                self.usage = delta.usage
            for choice_delta in delta.choices:
                choice = self._choices.get(choice_delta.index)
                if choice is None:
                    choice = self._choices[choice_delta.index] = CollectedChoice(choice_delta.index)
                choice.add(choice_delta)

    def choices(self) -> list[CollectedChoice]:
        """The choices by index."""
        return [self._choices[index] for index in sorted(self._choices)]
