"""Presidio is optional and no part of the environment: without it, and with the packages of its own lock."""

from __future__ import annotations

import sys

import pytest

from guardrails.personal.presidio import PresidioFinder
from tests.beside import run_tests_beside


def test_without_presidio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(ValueError, match="pip install presidio-analyzer"):
        PresidioFinder(["crypto"], ["en"])


@pytest.mark.slow
def test_with_presidio() -> None:
    run_tests_beside("presidio", "tests/unit/guardrails/with_presidio.py")
