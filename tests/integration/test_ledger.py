"""The ledger equals the bill of a provider that keeps books of its own, although the gateway is killed while it serves.

The same at 50,000 requests and twenty kills: `python -m bench.ledger_exactness`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.ledger_check import Findings
from bench.ledger_exactness import Run
from bench.traffic import KINDS
from tests.live import free_port


def run(folder: Path, database: str, requests: int, kills: int) -> Findings:
    """Fails with the figures."""
    found = asyncio.run(Run(folder, (free_port(), free_port()), database, seed=requests).run(requests, kills))
    assert not found.faults, "\n".join(found.lines())
    assert (found.missing, found.double) == (0, 0)
    # Only streams whose callers left while events were on their way may differ, by no more than those events.
    assert found.in_flight.total() < 0.06 * found.requests
    differ = found.provider - found.ledger
    assert differ["input"] + differ["output"] == found.in_flight_tokens
    return found


def test_rows_tokens_and_cents_are_the_providers(tmp_path: Path) -> None:
    found = run(tmp_path, f"sqlite:///{tmp_path / 'ledger.sqlite'}", 3000, 3)
    assert found.requests > 2500
    assert found.estimated > 100
    assert {"ok", "error", "interrupted", "cancelled"} <= set(found.kinds)
    assert found.ledger["cache_read"] > 0
    assert found.ledger["reasoning"] > 0
    assert found.models == {kind.name for kind in KINDS}


def test_rows_in_postgresql_too(postgres_url: str, tmp_path: Path) -> None:
    found = run(tmp_path, postgres_url, 600, 1)
    assert found.requests > 500
