"""Presidio's pattern recognisers, for types that the built-in patterns don't cover.

Only pattern recognisers are used: Presidio's name recognisers need a spaCy model, and those for e-mail addresses and
URLs download a list, so the built-in patterns cover these. Needs the package presidio-analyzer with spaCy (300 MB).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guardrails.span import Span

# A lower score means only digits of a certain length, for which Presidio would check the surrounding words.
MIN_SCORE = 0.5
_NEEDS_NETWORK = frozenset({"EMAIL_ADDRESS", "URL"})


class PresidioFinder:
    """Implements `guardrails.checks.Finder` with the recognisers of the given kinds."""

    def __init__(self, kinds: Sequence[str], languages: Sequence[str]) -> None:
        """`kinds` are Presidio's names, in any case.

        Raises `ValueError` if Presidio is not installed or has no pattern for one of them.
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
            entities = set(recogniser.supported_entities) - _NEEDS_NETWORK
            known |= entities
            if entities & wanted:
                self._recognisers.append((recogniser, sorted(entities & wanted)))
        if unknown := wanted - known:
            names = ", ".join(sorted(each.lower() for each in unknown))
            raise ValueError(
                f"presidio has no pattern for {names}; it has {', '.join(sorted(each.lower() for each in known))}"
            )

    def find(self, text: str) -> list[Span]:
        """See `Finder.find`; the spans may overlap."""
        return [
            Span(result.start, result.end, result.entity_type, float(result.score))
            for recogniser, kinds in self._recognisers
            for result in recogniser.analyze(text, kinds, None) or ()
            if result.score >= MIN_SCORE
        ]
