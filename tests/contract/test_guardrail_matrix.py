"""Every guardrail on every surface, whole and streamed, on every side where it may stand: what it blocks is blocked.

The cases are those of the conformance of each kind: a kind without one fails. The table is written to
`var/guardrail-matrix.md`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from config.guardrails import GuardrailConfig
from gateway.assembly.catalog import KINDS
from guardrails.conformance import GuardrailConformance
from tests.asking import ask
from tests.live import Answer, Gateway, running_gateway
from tests.recording import Recording
from tests.unit.guardrails import test_kinds_of_guardrails as kinds
from tests.unit.guardrails.test_kinds_of_guardrails import GROUNDS, RULE

TABLE = Path(__file__).resolve().parents[2] / "var" / "guardrail-matrix.md"
# Of each kind the first class of its conformance: its options, what triggers it, what does not. The trigger is the
# question on the way in, the answer on the way out.
CASES: dict[str, type[GuardrailConformance]] = {}
for each in vars(kinds).values():
    if isinstance(each, type) and issubclass(each, GuardrailConformance) and each is not GuardrailConformance:
        CASES.setdefault(each.kind(), each)
GUARDRAIL_KINDS = cast("dict[str, type[GuardrailConfig]]", KINDS.structs("guardrails"))
SIDES = [(kind, side) for kind, struct in GUARDRAIL_KINDS.items() for side in sorted(struct.sides)]
SURFACES = ("openai", "anthropic", "gemini")


def _yaml(port: int) -> str:
    models = "".join(f"  {kind}-{side}: {{pipeline: {kind}-{side}}}\n" for kind, side in SIDES)
    # Models load and learn with the first request, on a machine that is busy with other tests.
    written = {kind: {"kind": kind, **case.options, "timeout": "60s"} for kind, case in CASES.items()}
    guards = "".join(f"  {kind}: {json.dumps(options)}\n" for kind, options in written.items())
    pipes = "".join(f"  {kind}-{side}: {{guard_{side}: [{kind}], model: plain}}\n" for kind, side in SIDES)
    return f"""
version: 1
providers: {{up: {{kind: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: k}}}}
models:
  plain: {{targets: [up/m], retry: {{attempts: 1}}}}
  judge: {{targets: [up/m]}}
{models}guardrails:
{guards}pipelines:
{pipes}apps: {{all: {{keys: [test-key]}}}}
observe: {{log: "off"}}
"""


@pytest.fixture(scope="module")
def gateway(recorder: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(_yaml(recorder.port), tmp_path_factory.mktemp("matrix")) as running:
        yield running


@pytest.fixture(scope="module")
def table() -> Iterator[dict[tuple[str, str], list[str]]]:
    rows: dict[tuple[str, str], list[str]] = {}
    yield rows
    TABLE.parent.mkdir(exist_ok=True)
    heads = [f"{surface} {way}" for surface in SURFACES for way in ("whole", "stream")]
    lines = [f"| guardrail | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {kind}, {side} | {' | '.join(cells)} |" for (kind, side), cells in rows.items()]
    TABLE.write_text("\n".join(lines) + "\n")


def _ask(gateway: Gateway, upstream: Recording, case: tuple[str, str], text: str, surface: str, stream: bool) -> Answer:
    kind, side = case
    upstream.bodies.clear()
    upstream.answers.clear()
    question, more = text, {}
    if side == "output":
        question = GROUNDS + "Go on."
        upstream.answers.append(lambda _: text)
        if CASES[kind].model_says is not GuardrailConformance.model_says:
            upstream.answers += [lambda _: CASES[kind]().model_says(text)] * 2
        systems: dict[str, dict[str, Any]] = {
            "openai": {"messages": [{"role": "system", "content": RULE}, {"role": "user", "content": question}]},
            "anthropic": {"system": RULE},
            "gemini": {"systemInstruction": {"parts": [{"text": RULE}]}},
        }
        more = systems[surface]
    return ask(gateway, surface, f"{kind}-{side}", question, stream=stream, **more)


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(GUARDRAIL_KINDS)


@pytest.mark.parametrize("case", SIDES, ids=lambda case: "-".join(case))
def test_it_blocks_everywhere_and_only_what_it_should(
    gateway: Gateway, upstream: Recording, table: dict[tuple[str, str], list[str]], case: tuple[str, str]
) -> None:
    trigger, harmless = CASES[case[0]].found[0], CASES[case[0]].passed[0]
    cells = table.setdefault(case, [])
    if "block" not in GUARDRAIL_KINDS[case[0]].steps and case[0] != "handover":
        for surface, stream in itertools.product(SURFACES, (False, True)):
            assert _ask(gateway, upstream, case, harmless, surface, stream).status == 200
            cells.append("only flags")
        return
    for surface, stream in itertools.product(SURFACES, (False, True)):
        answer = _ask(gateway, upstream, case, trigger, surface, stream)
        blocked = b"blocked by the guardrail" in answer.body or (case[0] == "complete" and answer.status >= 400)
        blocked = blocked or (case[0] == "handover" and b"(reference: req_" in answer.body)
        if trigger.strip():
            assert trigger.encode() not in answer.body
        if case[1] == "input":
            assert not upstream.bodies
        passed = _ask(gateway, upstream, case, harmless, surface, stream)
        cells.append("blocks" if blocked and passed.status == 200 else f"{answer.status} {passed.status}")
        assert blocked, (surface, stream, answer.status, answer.body[:300])
        assert passed.status == 200, (surface, stream, passed.body[:300])
        assert b"blocked by the guardrail" not in passed.body
