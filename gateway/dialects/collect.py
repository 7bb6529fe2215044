"""A stream of deltas as one answer: what every writer of whole answers starts from."""

from __future__ import annotations

from typing import Any

from contract.deltas import ChoiceDelta, Delta, FinishReason, Own, TokenLogprob, ToolCallDelta, Usage


class CollectedCall:
    """A tool call put together from its pieces."""

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

    def take(self, piece: ToolCallDelta) -> None:
        """Adds a piece."""
        self.id = self.id or piece.id
        self.name = self.name or piece.name
        self.signature = self.signature or piece.signature
        self.custom = self.custom or piece.custom
        if piece.own:
            self.own = {**(self.own or {}), **piece.own}
        if piece.arguments:
            self._pieces.append(piece.arguments)


class CollectedChoice:
    """One answer. `text` and `reasoning` are joined over all blocks."""

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
        """All words."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """All thoughts."""
        return "".join(self._reasoning)

    @property
    def refusal(self) -> str:
        """All words of declining."""
        return "".join(self._refusal)

    @property
    def tool_calls(self) -> list[CollectedCall]:
        """By index."""
        return [self._calls[index] for index in sorted(self._calls)]

    def take(self, piece: ChoiceDelta) -> None:
        """Adds a piece. Lists in `extra` are joined, other values replaced."""
        if piece.text:
            self._text.append(piece.text)
        if piece.reasoning:
            self._reasoning.append(piece.reasoning)
        if piece.refusal:
            self._refusal.append(piece.refusal)
        for call in piece.tool_calls:
            self._calls.setdefault(call.index, CollectedCall(call.index)).take(call)
        self.logprobs += piece.logprobs
        self.finish = piece.finish or self.finish
        self.stop_sequence = piece.stop_sequence or self.stop_sequence
        for key, value in (piece.extra or {}).items():
            before = self.extra.get(key)
            self.extra[key] = before + value if isinstance(before, list) and isinstance(value, list) else value


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
            for piece in delta.choices:
                choice = self._choices.get(piece.index)
                if choice is None:
                    choice = self._choices[piece.index] = CollectedChoice(piece.index)
                choice.take(piece)

    def choices(self) -> list[CollectedChoice]:
        """By index."""
        return [self._choices[index] for index in sorted(self._choices)]
