"""Public reports about `anthropic-beta`, without which the fields of coding agents are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.vendors import house, user

EDITS = {"edits": [{"type": "clear_tool_uses_20250919"}]}


@pytest.mark.report(
    "headers", "The gateway sends the caller's anthropic-beta to Anthropic, merged with the provider's own"
)
def test_betas_reach_anthropic(tmp_path: Path) -> None:
    providers = '  own: {kind: anthropic, base_url: "URL", api_key: k, headers: {Anthropic-Beta: "mine-1, both-1"}}'
    with house(tmp_path, models="  own: {targets: [own/claude-x]}\n", providers=providers) as it:
        for stream in (False, True):
            it.messages("a", None, {"anthropic-beta": "b-2, a-1,b-2"}, stream=stream, context_management=EDITS)
            assert it.upstream.requests[-1].headers["anthropic-beta"] == "a-1,b-2"
            assert it.last["context_management"] == EDITS
            it.messages("own", None, {"anthropic-beta": "theirs-1,both-1"}, stream=stream)
            assert it.upstream.requests[-1].headers["anthropic-beta"] == "mine-1,both-1,theirs-1"
            it.messages("own", stream=stream)
            assert it.upstream.requests[-1].headers["anthropic-beta"] == "mine-1, both-1"
            it.messages("a", stream=stream)
            assert "anthropic-beta" not in it.upstream.requests[-1].headers
        it.chat("a", None, {"anthropic-beta": "a-1"})
        assert it.upstream.requests[-1].headers["anthropic-beta"] == "a-1"


@pytest.mark.report("headers", "No other provider gets anthropic-beta, and x-gatehouse-dropped-params lists it")
def test_betas_stay_with_anthropic(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        for model in "og":
            answer = it.messages(model, None, {"anthropic-beta": "context-1m-2025-08-07"})
            assert "anthropic-beta" not in it.upstream.requests[-1].headers
            assert answer.headers["x-gatehouse-dropped-params"] == "anthropic-beta"


@pytest.mark.report("headers", "anthropic-beta has a size limit and accepts only names")
@pytest.mark.parametrize("value", ["a b", "a;q=1", "x" * 200, ",".join(map(str, range(200))), "ä-1"])
def test_betas_are_checked(tmp_path: Path, value: str) -> None:
    with house(tmp_path) as it:
        answer = it.messages("a", None, {"anthropic-beta": value})
        count = it.gateway.request(
            "POST",
            "/v1/messages/count_tokens",
            {"model": "a", "messages": [user()]},
            {"anthropic-beta": value, "anthropic-version": "2023-06-01"},
        )
        assert not it.upstream.requests
    assert (answer.status, count.status) == (400, 400)
    assert "anthropic-beta" in answer.json()["error"]["message"]


@pytest.mark.report("headers", "Requests with different anthropic-beta values do not share a cached answer")
def test_betas_and_the_cache(tmp_path: Path) -> None:
    more = """caches:
  answers: {}
pipelines:
  kept: {model: a, cache: answers}
"""
    with house(tmp_path, models="  kept: {pipeline: kept}\n", more=more) as it:
        asked = [user("How many pages a minute does the printer print?")]
        first = it.messages("kept", asked, {"anthropic-beta": "a-1,b-1"}, temperature=0)
        other = it.messages("kept", asked, {"anthropic-beta": "c-1"}, temperature=0)
        none = it.messages("kept", asked, temperature=0)
        again = it.messages("kept", asked, {"anthropic-beta": "b-1, a-1"}, temperature=0)
    found = [each.headers["x-gatehouse-cache"] for each in (first, other, none, again)]
    assert found == ["miss", "miss", "miss", "exact"]
