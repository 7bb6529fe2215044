"""Public reports about personal data that was missed, and about harmless text that was masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.vendors import house, user

MODELS = "  masked: {pipeline: masked}\n"
GUARD = """
guardrails: {pii: {kind: personal_data, hint: false}}
pipelines: {masked: {guard_input: [pii], model: o}}
"""


@pytest.mark.report(
    "guardrails", "A number after the name of an identity document is masked, however the name is written"
)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("My passport number: L898902C3", "L898902C3"),
        ("Passport no. 533380006, valid until May", "533380006"),
        ("Mein Reisepass-Nr. C01X00T478", "C01X00T478"),
        ("My driver licence no. F255-921-50-094-0", "F255-921-50-094-0"),
    ],
)
def test_documents_are_masked(tmp_path: Path, text: str, value: str) -> None:
    with house(tmp_path, models=MODELS, more=GUARD) as it:
        it.chat("masked", [user(text)])
        assert value not in it.last["messages"][-1]["content"]


@pytest.mark.report(
    "guardrails", "Personal data is masked in scripts without spaces, and national ids of more countries are masked"
)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("我的电话13812345678", "13812345678"),
        ("服务器IP地址203.0.113.7", "203.0.113.7"),
        ("生年月日は1987年5月3日です", "1987年5月3日"),
        ("Meu CPF é 529.982.247-25", "529.982.247-25"),
        ("Mój PESEL to 44051401359", "44051401359"),
        ("身份证号11010519491231002X", "11010519491231002X"),
    ],
)
def test_other_scripts_and_ids(tmp_path: Path, text: str, value: str) -> None:
    with house(tmp_path, models=MODELS, more=GUARD) as it:
        it.chat("masked", [user(text)])
        assert value not in it.last["messages"][-1]["content"]


@pytest.mark.report("guardrails", "A version or section number is not masked as an IP address")
@pytest.mark.parametrize(
    "text", ["Upgrade to version 1.2.3.4 of the app", "See section 4.1.2.3", "Get app-1.2.3.4.zip"]
)
def test_versions_are_left(tmp_path: Path, text: str) -> None:
    with house(tmp_path, models=MODELS, more=GUARD) as it:
        it.chat("masked", [user(text)])
        assert it.last["messages"][-1]["content"] == text
