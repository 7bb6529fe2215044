"""`gatehouse eval guardrails` as a person runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
YAML = """
version: 1
providers: {builtin: {kind: extractive}}
models: {quote: {targets: [builtin/extractive]}, support: {pipeline: support}}
guardrails:
  pii: {kind: personal_data, key: k, types: {organisation: mask}}
  secrets: {kind: secrets, then: flag}
pipelines:
  support: {guard_input: [secrets, pii], model: quote}
"""
CASES = [
    {
        "text": "Please send it to Jane Miller, 12 Oak Street, Springfield.",
        "spans": [[18, 29, "person"], [31, 57, "address"]],
    },
    {"text": "My mail is jane@doe.example", "spans": [[11, 27, "email"]]},
    {"text": "password = Tr0ub4dor&3xyz", "label": "secret"},
    {"text": "How do I change my password?", "label": "benign"},
]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "gatehouse.yaml").write_text(YAML)
    return subprocess.run(
        [sys.executable, "-m", "gateway", "eval", "guardrails", *arguments, "-c", str(folder / "gatehouse.yaml")],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_figures(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text("\n".join(json.dumps(case) for case in CASES))
    done = _run(tmp_path, str(cases), "--pipeline", "support")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["secret", "1", "1", "100.0%"] in rows
    assert ["benign", "0", "1", "0.0%"] in rows
    assert ["email", "1", "1", "0", "1.000"] in rows
    assert any(row[:3] == ["person", "1", "1"] for row in rows)
    assert any(row[:1] == ["all"] for row in rows)
    assert "0.00% of the characters of personal data were missed" in done.stdout


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text('{"text": "a"}\n{"label": 1}\n')
    done = _run(tmp_path, str(cases), "--pipeline", "support")
    assert done.returncode == 2
    assert "cases.jsonl:2" in done.stderr
    done = _run(tmp_path, str(cases), "--pipeline", "ghost")
    assert done.returncode == 2
    assert "there is no pipeline ghost" in done.stderr
