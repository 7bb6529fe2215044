"""Documents from the command line, embedded by what ships or by a provider's model, and searches measured on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recording import HEAD, recording_upstream

YAML = (
    HEAD
    + """\
models:
  plain: {{targets: [up/m]}}
  embedder: {{targets: [up/e]}}
  docs: {{pipeline: docs}}
pipelines:
  docs: {{context: {{from: [hosted, sheet]}}, model: plain}}
sources:
  hosted: {{kind: documents, embedder: {{model: embedder, dimensions: 2}}}}
  local: {{kind: folder, path: manuals}}
  sheet: {{kind: sql, model: plain, files: {{sales: sales.csv}}}}
"""
)


def gatehouse(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *words, "--config", str(folder / "g.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manuals").mkdir()
    (tmp_path / "manuals" / "a.md").write_text("# Pump\n\nThe pump carries a warranty of two years.")
    (tmp_path / "manuals" / "b.md").write_text("# Fridge\n\nThe fridge cools to four degrees.")
    (tmp_path / "sales.csv").write_text("month,total\n2024-01,7\n")
    return tmp_path


def test_a_providers_model_embeds_what_the_command_line_reads(folder: Path) -> None:
    with recording_upstream() as upstream:
        (folder / "g.yaml").write_text(YAML.format(port=upstream.port))
        done = gatehouse(folder, "ingest", "hosted", str(folder / "manuals"))
        assert done.returncode == 0, done.stderr
        assert "2 added" in done.stdout
        assert "2 embedded" in done.stdout
        assert sum(len(body["input"]) for body in upstream.bodies if "input" in body) == 2
        again = gatehouse(folder, "ingest", "hosted", str(folder / "manuals"))
        assert "2 unchanged" in again.stdout
        assert "0 embedded" in again.stdout


def test_searches_are_measured_learned_and_drawn(folder: Path) -> None:
    (folder / "g.yaml").write_text(YAML.format(port=9))
    questions = [
        {"question": "warranty of the pump", "relevant": ["a.md"]},
        {"question": "how cold is the fridge", "relevant": ["b.md"]},
    ]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))
    chart = folder / "chart.svg"
    done = gatehouse(
        folder, "eval", "retrieval", "local", "--questions", str(folder / "q.jsonl"), "--learn", "--chart", str(chart)
    )
    assert done.returncode == 0, done.stderr
    for way in ("words", "meaning", "ranks", "weighted", "reranked"):
        line = next(line for line in done.stdout.splitlines() if line.startswith(way))
        assert line.split()[1] == "1.000", done.stdout
    assert "words_weight:" in done.stdout
    assert chart.read_text().startswith("<svg")
    assert "words_weight" in (folder / "chart-weights.svg").read_text()


def test_rows_are_no_documents(folder: Path) -> None:
    (folder / "g.yaml").write_text(YAML.format(port=9))
    done = gatehouse(folder, "ingest", "sheet")
    assert done.returncode == 2
    assert "of kind sql" in done.stderr
