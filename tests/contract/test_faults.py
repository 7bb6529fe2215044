"""The fault matrix: every fault, on every surface, from every upstream dialect, whole and streamed, with a fallback and
without. The right content, a fallback, or a typed error; never a cut answer that looks whole.

The outcomes are written to var/fault-matrix.md as a table; `pytest -s` prints how many cases were right.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.answers import TEXT
from tests.live import Answer, Gateway, running_gateway
from tests.processes import until

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
    "error200-as429": {429},
    "error200-as500": {502},
    "deep1": {502},
    "deeperror": {502},
    "interim101": {502},
    "floodinterim": {502},
    "floodparts": {502, 504},
    "floodcomments": {502, 504},
    "gzip-lie": {502},
    "deflate-lie": {502},
    "br": {502},
    "zstd": {502},
}
# What breaks a stream after its first words, and a whole answer before its end.
AMID = {
    "stall5": {504},
    "cut5": {502},
    "cutclean5": {502},
    "cutbyte": {502},
    "malformed4": {502},
    "erroreven5": {429, 502, 503},
    "erroreven5-as429": {429},
    "erroreven5-as500": {502},
    "enderror": {502},
    "endmalformed": {502},
    "endnone": {502},
    "endcall": {502},
    "deep5": {502},
    "giant512": {502},
    "floodwords": {502, 504},
    "floodchoices": {502, 504},
    "cut999": {502},
    "cutchunk5": {502},
    "shorter": {502},
}
# What strikes before the first word of one dialect, and after that of another.
EITHER = {"cutargs": {502}, "deepargs": {502}, "floodcalls": {502, 504}}
# What ends for a reason that is no failure to one dialect, and one to another: never as if all were well.
ODD = {"endother": {502}, "endunknown": {502}}
# Everything has come, but the HTTP body has no proper end. With the dialect's own end it is whole.
UNENDED = {"longer": {502}}
# The caller's own mistake: nothing is tried again.
FINAL = {"400": {400}, "error200-as400": {400}}
# What is right as it is.
FINE = (
    "ok",
    "bytes1",
    "burst",
    "slow100",
    "n30-pace5",
    "interim",
    "interim100",
    "interim102",
    "interim103",
    "gzip",
    "deflate",
)
STATUSES = {**BEFORE, **AMID, **EITHER, **ODD, **UNENDED, **FINAL}
FAULTS = (*STATUSES, *FINE)
CLEAN_ENDS = {"stop", "tool_calls", "end_turn", "tool_use", "STOP"}
TRUTH = pytest.mark.guarantee("truth", "Every provider fault ends in a correct answer, a fallback or an error")
ROWS = pytest.mark.guarantee("truth", "Every request has exactly one ledger row, whatever fault its provider has")
# By the user that each case names: how often it has asked.
ASKED: Counter[str] = Counter()
RIGHT: set[str] = set()
MODES = ("whole", "stream")
BACKING = ("alone", "backed")
OUTCOMES: dict[tuple[str, str, str, str], set[str]] = {}


def model_name(fault: str, upstream: str, backing: str) -> str:
    return f"{fault}.{upstream}.{backing}"


def config(folder: Path) -> str:
    lines = ["version: 1", f'server: {{database: "sqlite:///{folder}/gatehouse.db", data: {folder}}}', "providers:"]
    lines += [f"  {dialect}: {{kind: simulated, dialect: {dialect}, max_response: 256kB}}" for dialect in DIALECTS]
    lines += ["  backup: {kind: simulated, dialect: openai}", "models:"]
    for fault in FAULTS:
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    with running_gateway(config(folder), folder) as gateway:
        yield gateway
    write_table()


def ask(gateway: Gateway, surface: str, model: str, mode: str) -> Answer:
    stream = mode == "stream"
    user = {"x-gatehouse-user": f"{model}.{surface}.{mode}"}
    ASKED[user["x-gatehouse-user"]] += 1
    if surface == "openai":
        body: dict[str, Any] = {
            "model": model,
            "stream": stream,
            "messages": [{"role": "user", "content": "the backup"}],
        }
        return gateway.request("POST", "/v1/chat/completions", body, user)
    if surface == "anthropic":
        body = {
            "model": model,
            "stream": stream,
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "the backup"}],
        }
        return gateway.request("POST", "/v1/messages", body, {"anthropic-version": "2023-06-01", **user})
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": "the backup"}]}]}
    return gateway.request("POST", f"/v1beta/models/{model}:{verb}", body, user)


class Read:
    """What a careful client makes of an answer: its text, the error in it, and whether it ended cleanly."""

    def __init__(self, surface: str, mode: str, answer: Answer) -> None:
        self.text = ""
        self.error: Any = None
        self.clean = False
        self.reasons: set[str] = set()
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
            self.reasons = {choice["finish_reason"] for choice in body["choices"]}
        elif surface == "anthropic":
            self.text = "".join(block.get("text", "") for block in body["content"])
            self.reasons = {body["stop_reason"]}
        else:
            self.text = "".join(part.get("text", "") for part in body["candidates"][0]["content"]["parts"])
            self.reasons = {candidate["finishReason"] for candidate in body["candidates"]}

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
            self.reasons |= {choice["finish_reason"]} - {None}

    def _anthropic(self, event: dict[str, Any], frame: str) -> None:
        assert frame.startswith("event: " + event["type"]), "each frame names its event"
        self.error = event.get("error")
        self.text += event.get("delta", {}).get("text", "")
        self.reasons |= {event.get("delta", {}).get("stop_reason")} - {None}
        self.clean = self.clean or event["type"] == "message_stop"

    def _gemini(self, event: dict[str, Any], _: str) -> None:
        self.error = event.get("error")
        for candidate in event.get("candidates", []):
            for part in candidate.get("content", {}).get("parts", []):
                self.text += part.get("text", "")
            self.clean = self.clean or bool(candidate.get("finishReason"))
            self.reasons |= {candidate.get("finishReason")} - {None}


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


@TRUTH
@pytest.mark.parametrize("backing", BACKING)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("upstream", DIALECTS)
@pytest.mark.parametrize("surface", DIALECTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_fault(gateway: Gateway, fault: str, surface: str, upstream: str, mode: str, backing: str) -> None:
    answer = ask(gateway, surface, model_name(fault, upstream, backing), mode)
    outcome = check_failed(answer, fault, surface, mode, backing) if answer.status != 200 else ""
    outcome = outcome or check_answered(answer, Read(surface, mode, answer), fault, mode, backing)
    OUTCOMES.setdefault((fault, surface, mode, backing), set()).add(outcome)
    RIGHT.add(f"{model_name(fault, upstream, backing)}.{surface}.{mode}")


def check_failed(answer: Answer, fault: str, surface: str, mode: str, backing: str) -> str:
    assert not (fault in AMID and mode == "stream"), f"{fault} comes after the first words: {answer.body!r}"
    assert fault not in FINE, answer.body
    assert backing == "alone" or fault in FINAL, f"the fallback was not used: {answer.body!r}"
    check_error(surface, answer, STATUSES[fault])
    return f"error {answer.status}"


def check_answered(answer: Answer, read: Read, fault: str, mode: str, backing: str) -> str:
    late = fault in AMID and mode == "stream"
    if read.error:
        # In the stream: after the first words, or after the opening of a provider that had begun.
        assert mode == "stream"
        begun = late or fault in EITHER or fault in ODD or fault in UNENDED
        assert begun or backing == "alone", f"the fallback was not used: {answer.body!r}"
        assert not read.clean, "an error and a clean end"
        return "words, then an error event" if read.text else "error event"
    assert read.clean, f"neither an error nor an end: {answer.body!r}"
    assert not late, f"a broken stream ended cleanly: {answer.body!r}"
    if read.text == "the backup":
        assert backing == "backed"
        assert fault not in FINE
        return "fallback answered"
    assert fault in FINE or fault in ODD or fault in UNENDED, f"answered without a fallback: {answer.body[:2000]!r}"
    assert answer.headers["x-gatehouse-attempts"] == "1"
    if fault.startswith("n30"):
        assert read.text.split() == [f"word{number}" for number in range(30)]
    else:
        assert read.text == TEXT
    assert bool(read.reasons & CLEAN_ENDS) != (fault in ODD), read.reasons
    return "answered, not as a clean stop" if fault in ODD else "answered"


@ROWS
def test_every_case_has_one_row(gateway: Gateway, folder: Path) -> None:
    """Of those that have run before it."""
    count = "SELECT user, COUNT(*) FROM requests GROUP BY user"
    assert ASKED
    with contextlib.closing(sqlite3.connect(folder / "gatehouse.db")) as database:
        until(lambda: sum(each for _, each in database.execute(count)) >= sum(ASKED.values()))
        rows = Counter(dict(database.execute(count)))
    assert rows == ASKED


def write_table() -> None:
    """var/fault-matrix.md; each cell holds the outcomes over all upstream dialects."""
    columns = [(surface, mode, backing) for surface in DIALECTS for mode in MODES for backing in BACKING]
    lines = [
        "| fault | " + " | ".join(" ".join(column) for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for fault in FAULTS:
        cells = [", ".join(sorted(OUTCOMES.get((fault, *column), {"-"}))) for column in columns]
        lines.append(f"| `{fault}` | " + " | ".join(cells) + " |")
    path = Path(__file__).resolve().parents[2] / "var" / "fault-matrix.md"
    path.parent.mkdir(exist_ok=True)
    summary = f"fault matrix: {len(RIGHT)} of {len(ASKED)} cases right"
    path.write_text("\n".join([*lines, "", summary]) + "\n")
    print(summary)  # noqa: T201 - what the run was for
