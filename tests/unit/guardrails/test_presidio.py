"""Presidio's recognisers, where Presidio is installed; it is no part of the locked environment."""

from __future__ import annotations

import importlib.util

import pytest

from guardrails.personal.presidio import PresidioFinder
from guardrails.personal.search import PersonalSearch
from tests.plugins.skips import DOES_NOT_APPLY

TEXT = "My wallet is 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ, my licence BB1388568, mail jane@doe.example."
installed = importlib.util.find_spec("presidio_analyzer") is not None


@pytest.mark.skipif(installed, reason=f"{DOES_NOT_APPLY}presidio-analyzer is installed")
def test_without_presidio_it_says_what_to_install() -> None:
    with pytest.raises(ValueError, match="pip install presidio-analyzer"):
        PresidioFinder(["crypto"], ["en"])


@pytest.mark.skipif(not installed, reason=f"{DOES_NOT_APPLY}presidio-analyzer is optional and not in the lock")
def test_its_forms_are_found_beside_the_own() -> None:
    more = PresidioFinder(["crypto", "medical_license"], ["en"])
    search = PersonalSearch(frozenset({"EMAIL", "CRYPTO", "MEDICAL_LICENSE"}), more=more)
    assert [(TEXT[span.start : span.end], span.kind) for span in search.search(TEXT)] == [
        ("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "CRYPTO"),
        ("BB1388568", "MEDICAL_LICENSE"),
        ("jane@doe.example", "EMAIL"),
    ]


@pytest.mark.skipif(not installed, reason=f"{DOES_NOT_APPLY}presidio-analyzer is optional and not in the lock")
@pytest.mark.parametrize("kind", ["url", "person", "nonsense"])
def test_what_it_has_no_form_for_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"no pattern for {kind}"):
        PresidioFinder([kind], ["en"])
