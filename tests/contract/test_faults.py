"""The fault matrix: every fault, on every surface, from every upstream dialect, whole and streamed, with a fallback and
without. The right content, a fallback, or a typed error; never a cut answer that looks whole.

The outcomes are written to var/fault-matrix.md as a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Answer, Gateway, running_gateway

DIALECTS = ("openai", "anthropic", "gemini")
# What fails before the first word in both modes, with the status that a caller sees without a fallback.
BEFORE = {
    "refuse": {502},
    "hang": {504},
    "429-after2": {429},
    "500": {502},
    "503": {503},
    "529": {503},
    "401": {502},
    "403": {502},
    "404": {502},
    "context": {400},
    "slow5000": {504},
    "stall0": {504},
    "cut0": {502},
    "error200": {429, 502, 503},
    "empty": {502},
    "emptybody": {502},
    "html": {502},
    "malformed1": {502},
}
# What breaks a stream after its first words, and a whole answer before its end.
AMID = {
    "stall5": {504},
    "cut5": {502},
    "cutclean5": {502},
    "cutbyte": {502},
    "malformed4": {502},
    "erroreven5": {429, 502, 503},
}
# The caller's own mistake: nothing is tried again.
FINAL = {"400": {400}}
# What is right as it is.
FINE = ("ok", "bytes1", "burst", "slow100", "n30-pace5")
MODES = ("whole", "stream")
BACKING = ("alone", "backed")
OUTCOMES: dict[tuple[str, str, str, str], set[str]] = {}


def model_name(fault: str, upstream: str, backing: str) -> str:
    return f"{fault}.{upstream}.{backing}"


def config() -> str:
    lines = ["version: 1", "providers:"]
    lines += [f"  {dialect}: {{kind: simulated, dialect: {dialect}}}" for dialect in DIALECTS]
    lines += ["  backup: {kind: simulated, dialect: openai}", "models:"]
    for fault in (*BEFORE, *AMID, *FINAL, *FINE):
        for upstream in DIALECTS:
            for backing in BACKING:
                targets = [f"{upstream}/sim-{fault}"] + (["backup/sim-echo"] if backing == "backed" else [])
                lines.append(
                    f'  "{model_name(fault, upstream, backing)}": {{targets: {json.dumps(targets)}, '
                    "first_token: 250ms, idle: 250ms, timeout: 600ms, retry: {attempts: 1}, breaker: {failures: 1000}}"
                )
    lines += ["apps:", "  test: {keys: [test-key]}", 'observe: {log: "off"}']
    return "\n".join(lines)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(config(), tmp_path_factory.mktemp("faults")) as gateway:
        yield gateway
    write_table()


def ask(gateway: Gateway, surface: str, model: str, mode: str) -> Answer:
    stream = mode == "stream"
    if surface == "openai":
        body: dict[str, Any] = {
            "model": model,
            "stream": stream,
            "messages": [{"role": "user", "content": "the backup"}],
        }
        return gateway.request("POST", "/v1/chat/completions", body)
    if surface == "anthropic":
        body = {
            "model": model,
            "stream": stream,
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "the backup"}],
        }
        return gateway.request("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "the backup"}]}]}
    return gateway.request("POST", f"/v1beta/models/{model}:{verb}", body)


class Read:
    """What a careful client makes of an answer: its text, the error in it, and whether it ended cleanly."""

    def __init__(self, surface: str, mode: str, answer: Answer) -> None:
        self.text = ""
        self.error: Any = None
        self.clean = False
        if mode == "whole":
            self._whole(surface, answer.json())
        else:
            self._stream(surface, answer.body)

    def _whole(self, surface: str, body: dict[str, Any]) -> None:
        self.error = body.get("error")
        if self.error:
            return
        self.clean = True
        if surface == "openai":
            self.text = body["choices"][0]["message"]["content"]
        elif surface == "anthropic":
            self.text = "".join(block.get("text", "") for block in body["content"])
        else:
            self.text = "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"])

    def _stream(self, surface: str, body: bytes) -> None:
        for frame in body.decode("utf-8", "strict").replace("\r\n", "\n").split("\n\n"):
            data = "\n".join(line[5:].strip() for line in frame.split("\n") if line.startswith("data:"))
            if data == "[DONE]":
                assert surface == "openai"
                self.clean = True
            elif data:
                assert not self.error, "nothing may follow an error"
                getattr(self, "_" + surface)(json.loads(data), frame)

    def _openai(self, event: dict[str, Any], _: str) -> None:
        self.error = event.get("error")
        for choice in event.get("choices", []):
            self.text += choice["delta"].get("content") or ""

    def _anthropic(self, event: dict[str, Any], frame: str) -> None:
        assert frame.startswith("event: " + event["type"]), "each frame names its event"
        self.error = event.get("error")
        self.text += event.get("delta", {}).get("text", "")
        self.clean = self.clean or event["type"] == "message_stop"

    def _gemini(self, event: dict[str, Any], _: str) -> None:
        self.error = event.get("error")
        for candidate in event.get("candidates", []):
            for part in candidate.get("content", {}).get("parts", []):
                self.text += part.get("text", "")
            self.clean = self.clean or bool(candidate.get("finishReason"))


def check_error(surface: str, answer: Answer, statuses: set[int]) -> None:
    assert answer.status in statuses, (answer.status, answer.body)
    error = answer.json()["error"]
    assert error["message"]
    assert answer.headers["x-request-id"]
    if surface == "openai":
        assert error["code"]
        assert error["type"]
    elif surface == "anthropic":
        assert answer.json()["type"] == "error"
        assert error["type"].endswith("_error")
    else:
        assert error["code"] == answer.status
        assert error["status"].isupper()


def note(fault: str, surface: str, mode: str, backing: str, outcome: str) -> None:
    OUTCOMES.setdefault((fault, surface, mode, backing), set()).add(outcome)


@pytest.mark.parametrize("backing", BACKING)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("surface", DIALECTS)
@pytest.mark.parametrize("fault", [*BEFORE, *AMID, *FINAL, *FINE])
def test_fault(gateway: Gateway, fault: str, surface: str, upstream: str, mode: str, backing: str) -> None:
    answer = ask(gateway, surface, model_name(fault, upstream, backing), mode)
    late = fault in AMID and mode == "stream"
    if answer.status != 200:
        assert not late, f"{fault} comes after the first words: {answer.body!r}"
        assert fault not in FINE, answer.body
        assert backing == "alone" or fault in FINAL, f"the fallback was not used: {answer.body!r}"
        check_error(surface, answer, {**BEFORE, **AMID, **FINAL}[fault])
        note(fault, surface, mode, backing, f"error {answer.status}")
        return
    read = Read(surface, mode, answer)
    if read.error:
        # In the stream: after the first words, or after the opening of a provider that had begun.
        assert mode == "stream"
        assert late or backing == "alone", f"the fallback was not used: {answer.body!r}"
        assert not read.clean, "an error and a clean end"
        note(fault, surface, mode, backing, "words, then an error event" if read.text else "error event")
        return
    assert read.clean, f"neither an error nor an end: {answer.body!r}"
    assert not late, f"a broken stream ended cleanly: {answer.body!r}"
    if fault in FINE:
        assert answer.headers["x-gatehouse-attempts"] == "1"
        note(fault, surface, mode, backing, "answered")
    else:
        assert backing == "backed", f"answered without a fallback: {answer.body!r}"
        assert "the backup" in read.text
        note(fault, surface, mode, backing, "fallback answered")


def write_table() -> None:
    """var/fault-matrix.md; each cell holds the outcomes over all upstream dialects."""
    columns = [(surface, mode, backing) for surface in DIALECTS for mode in MODES for backing in BACKING]
    lines = [
        "| fault | " + " | ".join(" ".join(column) for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for fault in (*BEFORE, *AMID, *FINAL, *FINE):
        cells = [", ".join(sorted(OUTCOMES.get((fault, *column), {"-"}))) for column in columns]
        lines.append(f"| `{fault}` | " + " | ".join(cells) + " |")
    path = Path(__file__).resolve().parents[2] / "var" / "fault-matrix.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
