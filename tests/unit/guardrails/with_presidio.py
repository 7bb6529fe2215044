"""Presidio's own recognisers. `test_presidio.py` runs this file where presidio-analyzer can be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrails.personal.presidio import PresidioFinder
from guardrails.personal.search import PersonalSearch
from tests.live import running_gateway

TEXT = "My wallet is 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ, my licence BB1388568, mail jane@doe.example."
YAML = """
version: 1
access: open
providers: {up: {kind: simulated, script: echo}}
models: {masked: {pipeline: masked}, plain: {targets: [up/m]}}
guardrails:
  personal: {kind: personal_data, key: a key of tests, presidio: [crypto, medical_license], types: {crypto: block}}
pipelines: {masked: {guard_input: [personal], model: plain}}
observe: {log: "off"}
"""


def test_its_forms_are_found_beside_the_own() -> None:
    more = PresidioFinder(["crypto", "medical_license"], ["en"])
    search = PersonalSearch(frozenset({"EMAIL", "CRYPTO", "MEDICAL_LICENSE"}), more=more)
    assert [(TEXT[span.start : span.end], span.kind) for span in search.search(TEXT)] == [
        ("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "CRYPTO"),
        ("BB1388568", "MEDICAL_LICENSE"),
        ("jane@doe.example", "EMAIL"),
    ]


@pytest.mark.parametrize("kind", ["url", "person", "nonsense"])
def test_what_it_has_no_form_for_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"no pattern for {kind}"):
        PresidioFinder([kind], ["en"])


def test_a_gateway_blocks_and_masks_by_them(tmp_path: Path) -> None:
    wallet, licence = "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ", "BB1388568"
    with running_gateway(YAML, tmp_path) as gateway:

        def said(text: str) -> tuple[int, bytes]:
            body = {"model": "masked", "messages": [{"role": "user", "content": text}]}
            answer = gateway.request("POST", "/v1/chat/completions", body)
            return answer.status, answer.body

        status, body = said(f"Pay to {wallet}")
        assert status == 400, body
        assert wallet.encode() not in body
        # The simulated upstream repeats what it got: its tag is undone on the way back.
        status, body = said(f"My licence is {licence}")
        assert status == 200, body
        assert licence.encode() in body
