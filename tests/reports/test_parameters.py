"""Public reports about parameters that one vendor takes and the next refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.vendors import house


@pytest.mark.report("parameters", "A stop sequence too many for the next vendor is left out, and the caller is told")
@pytest.mark.parametrize(("model", "most"), [("g", 5), ("o", 4)])
def test_stop_sequences_fit_the_vendor(tmp_path: Path, model: str, most: int) -> None:
    with house(tmp_path) as it:
        answer = it.messages(model, stop_sequences=list("123456"))
        sent = it.last["stop"] if model == "o" else it.last["generationConfig"]["stopSequences"]
    assert sent == list("123456")[:most]
    assert "stop" in answer.headers["x-gatehouse-losses"]
