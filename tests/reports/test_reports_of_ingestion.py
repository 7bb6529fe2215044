"""Public reports about documents that were taken in as nothing, and counted as added."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.live import Gateway, free_port, running_gateway
from tests.reports.files import line, packed, paragraph, pdf, word

WHY = "The report names each document that is not read, or only in part, with the reason"
YAML = """version: 1
server: {data: data}
providers: {up: {kind: simulated}}
models: {m: {targets: [up/m]}}
sources:
  notes: {kind: documents}
  shelf: {kind: folder, path: shelf}
apps: {bot: {keys: [bot-key], ingest: [notes, shelf]}}
observe: {log: json}
"""
SCAN = pdf("q 100 0 0 100 0 0 cm /Im1 Do Q")
MIXED = pdf(line("armadillo"), f"0 0 9 9 re f {'1 0 0 1 0 0 cm ' * 20}")
PICTURES = word(paragraph("<w:r><w:drawing><a:blip/></w:drawing></w:r>"))
FILES: dict[str, tuple[bytes, str]] = {
    "scan.pdf": (SCAN, "a scan?"),
    "empty.txt": (b"", "the file is empty"),
    "photos.docx": (PICTURES, "only pictures"),
    "page.html": (b"<script>x</script>", "contains no text"),
    "slides.pptx": (packed({"ppt/presentation.xml": "x"}), "PowerPoint"),
}


def folder(path: Path) -> Path:
    path.mkdir()
    for name, (data, _) in FILES.items():
        (path / name).write_bytes(data)
    (path / "mixed.pdf").write_bytes(MIXED)
    (path / "old.txt").write_bytes("Größe des Öltanks".encode("cp1252"))
    (path / "picture.png").write_bytes(b"\x89PNG")
    return path


def hand_in(gateway: Gateway, documents: list[dict[str, Any]]) -> Any:
    headers = {"authorization": "Bearer bot-key"}
    return gateway.request("POST", "/v1/sources/notes/documents", {"documents": documents}, headers).json()


@pytest.mark.report("documents", WHY)
def test_over_http(tmp_path: Path) -> None:
    folder(tmp_path / "shelf")
    handed = [{"id": name, "data": base64.b64encode(data).decode()} for name, (data, _) in FILES.items()]
    handed += [{"id": "mixed.pdf", "data": base64.b64encode(MIXED).decode()}]
    with running_gateway(YAML.replace("observe: {log: json}", 'observe: {log: "off"}'), tmp_path) as gateway:
        for _ in range(2):
            report = hand_in(gateway, handed)
            reasons = {each["id"]: each["reason"] for each in report["failed"]}
            assert reasons.keys() == FILES.keys()
            assert all(why in reasons[name] for name, (_, why) in FILES.items()), reasons
        assert report["unchanged"] == 1
        assert report["notes"] == []
        again = hand_in(gateway, [{**handed[-1], "title": "x"}, {"id": "manual.pdf", "text": "Read before."}])
        assert (again["changed"], again["added"], again["failed"]) == (1, 1, [])
        assert again["notes"] == [{"id": "mixed.pdf", "note": "there is no text on page 2 (scans?)"}]
        parts = gateway.request("GET", "/health").json()["parts"]
        assert "5 documents can't be read" in parts["notes"]
        assert "1 documents with notes" in parts["notes"]
        mended = [{"id": name, "text": "Words.", "media_type": "text/plain"} for name in FILES if name != "slides.pptx"]
        assert hand_in(gateway, mended)["failed"] == []
        assert "1 documents can't be read" in gateway.request("GET", "/health").json()["parts"]["notes"]


@pytest.mark.report(
    "documents", "`gatehouse ask` prints only the answer to stdout, and reports each unreadable document once"
)
def test_a_question_from_the_command_line(tmp_path: Path) -> None:
    folder(tmp_path / "shelf")
    pipeline = "pipelines: {p: {context: {from: [shelf]}, model: m}}\n"
    models = "models: {m: {targets: [up/sim-n2]}, p: {pipeline: p}, down: {targets: [up/sim-401]}}"
    (tmp_path / "g.yaml").write_text(YAML.replace("models: {m: {targets: [up/m]}}", models) + pipeline)
    command = [sys.executable, "-m", "gateway", "ask", "Hello?", "--config", str(tmp_path / "g.yaml"), "--model"]
    done = subprocess.run([*command, "p"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stdout + done.stderr
    for name, (_, why) in FILES.items():
        (said,) = (said for said in done.stderr.splitlines() if name in said)
        assert why in said
    done = subprocess.run([*command, "p", "--explain"], capture_output=True, text=True, timeout=120, check=False)
    assert "ms  200 ok" in done.stdout
    done = subprocess.run([*command, "down", "--explain"], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "ms  502 error" in done.stdout) == (1, True), done.stdout + done.stderr


@pytest.mark.report("documents", WHY)
def test_from_the_command_line(tmp_path: Path) -> None:
    folder(tmp_path / "shelf")
    (tmp_path / "g.yaml").write_text(YAML)
    command = [sys.executable, "-m", "gateway", "ingest", "shelf", "--config", str(tmp_path / "g.yaml")]
    for again in (False, True):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1, done.stderr
        for name, (_, why) in FILES.items():
            (said,) = (said for said in done.stderr.splitlines() if name in said)
            assert (said.startswith(f"{name}: "), why in said) == (True, True), done.stderr
        assert len(done.stdout.splitlines()) == 1
        assert "picture.png" not in done.stderr
        if not again:
            assert "2 added" in done.stdout
            assert "5 failed, 2 notes" in done.stdout
            assert "old.txt: its encoding is guessed: Windows-1252" in done.stderr
            assert "mixed.pdf: there is no text on page 2" in done.stderr


@pytest.mark.report("documents", WHY)
def test_of_a_folder_that_is_served(tmp_path: Path) -> None:
    folder(tmp_path / "shelf")
    (tmp_path / "g.yaml").write_text(YAML)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "-c",
        str(tmp_path / "g.yaml"),
        "--listen",
        f"127.0.0.1:{port}",
    ]
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        until = time.monotonic() + 120
        while "old.txt" not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
    finally:
        server.terminate()
        server.wait(60)
    lines = [each for each in log.read_text().splitlines() if "shelf" in each]
    for name, (_, why) in FILES.items():
        assert any(name in each and why in each and "can't be read" in each for each in lines), lines
    assert any("mixed.pdf" in each and "no text on page 2" in each for each in lines)
