"""Public reports about budgets and models whose price nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from access.ledger.pricing import unpriced_targets
from config import Config
from contract.errors import NO_PRICE
from gateway.assembly.configuration import load, load_with_places
from gateway.commands.advice import advise
from gateway.commands.plan import draw_plan, plan
from tests.collectors import http_collector
from tests.live import Answer, running_gateway
from tests.reports.vendors import House, Request, house, openai_reply, response
from tests.shown import shown

USAGE = {"prompt_tokens": 1000, "completion_tokens": 1000, "total_tokens": 2000}
BUDGET = "\napps: {bot: {keys: [test-key], budget: 1 USD per month}}\n"


def answered(request: Request) -> bytes:
    if "broken" in str(request.json.get("model")):
        return response({"error": {"message": "down"}}, status="500 Internal Server Error")
    return response({**openai_reply(), "usage": USAGE})


def asked(it: House, model: str = "quick", **fields: Any) -> Answer:
    return it.chat(model, **fields)


def models(it: House) -> list[str]:
    return [each.json["model"] for each in it.upstream.requests]


@pytest.mark.report("money", "A fallback without a price does not block a budget's requests from a target with a price")
@pytest.mark.parametrize("targets", ["[o/priced, o/secret]", "[o/secret, o/priced]"])
@pytest.mark.parametrize("hedge", ["", ", hedge: {after: 1ms}"])
@pytest.mark.parametrize("strategy", ["priority", "weighted", "least_busy", "fastest"])
def test_targets_without_a_price_are_left_out(tmp_path: Path, targets: str, hedge: str, strategy: str) -> None:
    more = "prices: {o/priced: {input: 1, output: 1}}" + BUDGET
    with house(tmp_path, answered, f"  quick: {{targets: {targets}, strategy: {strategy}{hedge}}}\n", more) as it:
        assert {asked(it).status for _ in range(4)} == {200}
        assert set(models(it)) == {"priced"}


@pytest.mark.report(
    "money", "A target without a price never answers requests under a budget, not even as the last fallback"
)
def test_a_target_without_a_price_is_no_fallback(tmp_path: Path) -> None:
    more = "prices: {o/broken: {input: 1, output: 1}}" + BUDGET
    quick = "  quick: {targets: [o/broken, o/secret], retry: {attempts: 1}, breaker: {failures: 1, window: 1m}}\n"
    with house(tmp_path, answered, quick, more) as it:
        answers = [asked(it) for _ in range(5)]
        assert {each.status for each in answers} <= {502, 500}
        assert set(models(it)) == {"broken"}
    told = answers[0].json()["error"]["message"]
    assert "o/secret: skipped, its price is unknown" in told


@pytest.mark.report("money", "If no target has a price, the error names all of them and shows how to set a price")
def test_no_target_with_a_price(tmp_path: Path) -> None:
    with house(tmp_path, answered, "  quick: {targets: [o/one, o/two]}\n", BUDGET) as it:
        answer = asked(it)
        assert models(it) == []
    assert answer.status == 403
    told = answer.json()["error"]
    assert told["code"] == "price_unknown"
    assert all(each in told["message"] for each in ("o/one", "o/two", "prices: {o/one:", "prices_as", "unknown_price"))


@pytest.mark.report(
    "money", "A target without a price for the service tier is skipped, and the next one with a price answers"
)
def test_a_service_tier_without_a_price(tmp_path: Path) -> None:
    flex = "{input: 1, output: 1, service_tiers: {flex: {input: 1, output: 1}}}"
    more = f"prices: {{o/usual: {{input: 1, output: 1}}, o/both: {flex}}}" + BUDGET
    with house(tmp_path, answered, "  quick: {targets: [o/usual, o/both]}\n", more) as it:
        assert asked(it).status == asked(it, service_tier="flex").status == 200
        assert models(it) == ["usual", "both"]
        refused = asked(it, service_tier="tier-of-2030")
    assert refused.status == 403
    assert "tier_of_2030" in refused.json()["error"]["message"]


@pytest.mark.report(
    "money", "A price applies to all models that its pattern matches, and the most specific pattern wins"
)
@pytest.mark.parametrize(
    ("prices", "cost"),
    [
        ('"o/*": free', "0"),
        ('"o/*": {input: 1, output: 1}', "0.002"),
        ('"o/*": free, "o/fast*": {input: 2, output: 2}', "0.004"),
        ('"o/fast*": {input: 2, output: 2}, "o/*": free', "0.004"),
        ('"o/*": free, "o/fast*": free, o/fast-1: {input: 3, output: 3}', "0.006"),
        ('"o/*st-1": {input: 4, output: 4}, "o/f*": free', "0.008"),
        ("o/fast-1: {prices_as: openai/gpt-4o}", "0.0125"),
        ("o/fast-1: openai/gpt-4o", "0.0125"),
        ('"o/f*": [{input: 1, output: 1}, {since: 2020-01-01, prices_as: openai/gpt-4o}]', "0.0125"),
    ],
)
def test_names_of_prices(tmp_path: Path, prices: str, cost: str) -> None:
    with house(tmp_path, answered, "  quick: {targets: [o/fast-1]}\n", f"prices: {{{prices}}}" + BUDGET) as it:
        answer = asked(it)
    assert (answer.status, answer.headers["x-gatehouse-cost-usd"]) == (200, cost)


@pytest.mark.report("money", "`free` applies to every service tier, and only where the YAML sets it")
def test_free_is_said(tmp_path: Path) -> None:
    trusted = 'providers: {own: {kind: openai, base_url: "http://own.internal/v1", trusted: true}}\n'
    text = f"version: 1\n{trusted}models: {{quick: {{targets: [own/m]}}}}{BUDGET}"
    assert unpriced_targets(written(tmp_path, text), "quick") == {"own/m": ("bot",)}
    assert unpriced_targets(written(tmp_path, text + 'prices: {"own/*": free}\n'), "quick") == {}
    more = 'prices: {"o/*": free}' + BUDGET
    with house(tmp_path, answered, "  quick: {targets: [o/m]}\n", more) as it:
        answer = asked(it, service_tier="priority")
    assert (answer.status, answer.headers["x-gatehouse-cost-usd"]) == (200, "0")


def written(folder: Path, text: str) -> Config:
    path = folder / "gatehouse.yaml"
    path.write_text(text)
    return load(path, {})


HEAD = """version: 1
providers:
  own: {kind: openai, base_url: "http://own.internal/v1", trusted: true}
  azure: {kind: azure, endpoint: "https://x.openai.azure.com", api_version: "2024-10-21", api_key: k}
  openai: {kind: openai, api_key: k}
models:
  some: {targets: [openai/gpt-5.4-mini, own/qwen]}
  none: {targets: [azure/our-deployment]}
  asked: {pipeline: asked}
  judge: {targets: [own/judge]}
  free: {targets: [own/other]}
pipelines: {asked: {model: some, guard_output: [judged]}}
guardrails: {judged: {kind: judge, rubric: Be kind., model: judge}}
"""


@pytest.mark.report(
    "money", "`gatehouse check` names each target that needs a price for a budget, with its line and a fix"
)
def test_the_check_warns(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    apps = "apps: {bot: {keys: [k], models: [asked], budget: 1 USD per day}, rich: {keys: [l], models: [none, free]}"
    path.write_text(HEAD + apps + ", one: {keys: [m], models: [none], per_user: {budget: 1 USD per day}}}\n")
    config, places = load_with_places(path, {})
    told = [(each.line, each.message, each.suggestion) for each in advise(config, places)]
    assert [line for line, _, _ in told] == [7, 8, 10]
    some, none, judge = told
    assert "own/qwen" in some[1]
    assert "app bot" in some[1]
    assert '{"own/*": free}' in some[2]
    assert "azure/our-deployment" in none[1]
    assert "app one" in none[1]
    assert "every request for none is rejected" in none[1]
    assert "own/judge" in judge[1]
    made = plan(config, "asked", lambda model: unpriced_targets(config, model))
    assert [each.get("no_price_for") for each in made["targets"]] == [None, ["bot"]]
    assert "no price: skipped for bot" in shown(draw_plan(made))
    path.write_text(
        HEAD + apps.replace("budget: 1 USD per day", "budget: {spend: 1 USD per day, unknown_price: allow}") + "}"
    )
    assert advise(*load_with_places(path, {})) == []


@pytest.mark.report("money", "`gatehouse check` warns about a price that matches no target")
def test_a_price_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(HEAD + "prices: {own/qwem: free, 'own/*': free, own/qwen: {input: 1, output: 2}}\n")
    (warning,) = advise(*load_with_places(path, {}))
    assert (warning.line, warning.suggestion) == (14, "did you mean own/qwen?")


@pytest.mark.report("money", "The trace gives an unknown price as the reason for each target that is skipped for it")
def test_a_trace_says_why_a_target_was_left_out(tmp_path: Path) -> None:
    with http_collector() as collector:
        yaml = f"""version: 1
providers: {{p: {{kind: simulated}}, own: {{kind: openai, base_url: "http://127.0.0.1:9/v1"}}}}
models: {{quick: {{targets: [own/secret, p/m]}}}}
observe: {{log: "off", otlp: "{collector.url}"}}{BUDGET}"""
        body = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}
        with running_gateway(yaml, tmp_path) as gateway:
            assert gateway.request("POST", "/v1/chat/completions", body).status == 200
    assert "own/secret" in str(collector.got)
    assert NO_PRICE in str(collector.got)
