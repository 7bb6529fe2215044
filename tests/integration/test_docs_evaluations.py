"""The commands of jobs/data-scientist.md measure the cases that the page shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documentation import DOCS, ROOT

PAGE = (DOCS / "jobs/data-scientist.md").read_text()
CONFIG = """version: 1
server: {data: data}
providers: {pretend: {kind: simulated}}
models: {quick: {targets: [pretend/m]}, strong: {targets: [pretend/m]}, support: {pipeline: support}}
sources: {manuals: {kind: folder, path: demo-documents}}
guardrails:
  pii: {kind: personal_data, key: "0123456789012345678901234567890123456789"}
  attacks: {kind: injection}
routers:
  front:
    intents:
      refund:
        examples: [I want my money back, can I get a refund, please refund me, how do refunds work, my money back]
        then: {say: "Refunds take a week."}
      small-talk: {examples: [hi, hello there, how are you, thanks, good morning], then: quick}
    out_of_scope: {say: "I can't help with that."}
    cost: {simple: quick, share: 40%}
pipelines: {support: {guard_input: [pii, attacks], router: front, context: {from: [manuals]}, model: strong}}
"""
ROWS = [
    (command, re.findall(r"`(\{.*?\})`", line))
    for line in PAGE.splitlines()
    if line.startswith("| ") and (command := "".join(re.findall(r"`gatehouse (eval [^`]*)`", line)))
]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "cases"), ROWS, ids=[f"{command}: {cases[0]}" for command, cases in ROWS])
def test_the_cases_that_the_page_shows_are_measured(command: str, cases: list[str], tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config/examples", tmp_path, dirs_exist_ok=True)
    (tmp_path / "gatehouse.yaml").write_text(CONFIG)
    (tmp_path / "cases.jsonl").write_text("".join(f"{json.dumps(json.loads(each))}\n" for each in cases))
    given = {"SOURCE": "manuals", "FILE": "cases.jsonl", "NAME": "support"}
    words = [given.get(word, word) for word in command.split()]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr


def test_every_evaluation_is_shown() -> None:
    assert {command.split()[1] for command, _ in ROWS} == {"retrieval", "router", "cache", "guardrails"}
