"""What clients in their default mode send and expect: coding agents, SDKs and frameworks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.vendors import house

LIMITED = """
apps:
  test: {keys: [test-key], models: [o]}
  small: {keys: [small-key], limits: {requests: 1 per hour}}
"""


@pytest.mark.report("clients", "An error that time does not mend tells the client not to retry, on every surface")
def test_a_client_is_told_when_retrying_is_no_use(tmp_path: Path) -> None:
    wrong = {"authorization": "Bearer wrong"}
    with house(tmp_path, more=LIMITED) as it:
        for answer, status in (
            (it.chat("o", headers=wrong), 401),
            (it.messages("o", headers=wrong), 401),
            (it.messages("o", headers=wrong, stream=True), 401),
            (it.generate("o", headers=wrong), 401),
            (it.gateway.request("GET", "/v1/models", headers=wrong), 401),
            (it.messages("a"), 404),
            (it.chat("o", temperature="warm"), 400),
            (it.gateway.request("POST", "/v1/responses", {"model": "o"}), 404),
        ):
            assert answer.status == status
            assert answer.headers["x-should-retry"] == "false"


@pytest.mark.report("clients", "A caller over its rate limit is told when to retry")
def test_a_rate_limit_may_be_retried(tmp_path: Path) -> None:
    small = {"authorization": "Bearer small-key"}
    with house(tmp_path, more=LIMITED) as it:
        it.messages("a", headers=small)
        answer = it.messages("a", headers=small)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "x-should-retry" not in answer.headers
