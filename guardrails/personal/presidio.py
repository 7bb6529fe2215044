"""Presidio's recognisers of forms, as a second source: for kinds of numbers that the own patterns don't know.

Only what has a form is taken; Presidio's names need a spaCy model, and its mails and links fetch a list over the
network, so those are left to the own patterns. Needs the package presidio-analyzer, which brings spaCy (300 MB).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guardrails.span import Span

# Below this a find is only digits of some length, for which Presidio would weigh the words around it.
LEAST_SCORE = 0.5
_REACHES_OUT = frozenset({"EMAIL_ADDRESS", "URL"})


class PresidioFinder:
    """Implements `guardrails.checks.Finder` with the recognisers of the kinds asked for."""

    def __init__(self, kinds: Sequence[str], languages: Sequence[str]) -> None:
        """`kinds` as Presidio names them, in any case.

        Raises `ValueError` where Presidio is not installed, or has no form for one of them.
        """
        try:
            from presidio_analyzer import PatternRecognizer, RecognizerRegistry  # type: ignore[import-not-found]
        except ImportError:
            raise ValueError("presidio needs the package presidio-analyzer: pip install presidio-analyzer") from None
        registry = RecognizerRegistry(supported_languages=list(languages))
        registry.load_predefined_recognizers(languages=list(languages))
        self._recognisers: list[tuple[Any, list[str]]] = []
        known: set[str] = set()
        wanted = {kind.upper() for kind in kinds}
        for recogniser in registry.recognizers:
            if not isinstance(recogniser, PatternRecognizer):
                continue
            mine = set(recogniser.supported_entities) - _REACHES_OUT
            known |= mine
            if mine & wanted:
                self._recognisers.append((recogniser, sorted(mine & wanted)))
        if unknown := wanted - known:
            names = ", ".join(sorted(each.lower() for each in unknown))
            raise ValueError(
                f"presidio has no form for {names}; it has {', '.join(sorted(each.lower() for each in known))}"
            )

    def find(self, text: str) -> list[Span]:
        """See `Finder.find`; overlaps are the caller's to resolve."""
        return [
            Span(found.start, found.end, found.entity_type, float(found.score))
            for recogniser, kinds in self._recognisers
            for found in recogniser.analyze(text, kinds, None) or ()
            if found.score >= LEAST_SCORE
        ]
