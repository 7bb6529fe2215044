"""What `organisations`, `teams`, `apps`, `identity`, `admin` and `server` refuse, and that they say where."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.assembly.configuration import load
from tests.configs import refusal

HEAD = "version: 1\nproviders: {p: {kind: simulated}}\nmodels: {m: {targets: [p/m]}}\n"
WRONG = [
    ("apps: {a: {keys: [k], budget: 5 per day}}", "apps.a.budget", "is not a budget"),
    ("apps: {a: {keys: [k], budget: 0 USD per day}}", "apps.a.budget", "is not a budget"),
    ("apps: {a: {keys: [k], budget: 5 EUR per day}}", "apps.a.budget", "currencies: {EUR: 1.08 USD}"),
    (
        "apps: {a: {keys: [k], per_user: {budget: 5 EUR per day}}}",
        "apps.a.per_user.budget",
        "the exchange rate of EUR is missing",
    ),
    ("apps: {a: {keys: [k], budget: 5 USD in 900 days}}", "apps.a.budget", "400 days"),
    (
        "apps: {a: {keys: [k], budget: {spend: 5 USD per day, time_zone: Mars/Base}}}",
        "apps.a.budget.time_zone",
        "Europe/Berlin",
    ),
    ("apps: {a: {keys: [k], budget: {spend: 5 USD per day, warn: [80%]}}}", "apps.a.budget", "webhook"),
    ("apps: {a: {keys: [k], budget: {spend: 5 USD per day, then: allow, downgrade: m}}}", "apps.a.budget", "keep one"),
    ("apps: {a: {keys: [k], budget: {spend: 5 USD per day, downgrade: n}}}", "downgrade", 'there is no model "n"'),
    ("apps: {a: {keys: [k], team: red}}", "apps.a.team", 'there is no team "red"'),
    ("teams: {t: {organisation: x}}\napps: {a: {keys: [k]}}", "teams.t.organisation", 'there is no organisation "x"'),
    ("apps: {a: {keys: [k], networks: [10.0.0.1/8]}}", "apps.a.networks", "is not a network"),
    ("apps: {a: {keys: [k], surfaces: [cohere]}}", "apps.a.surfaces", "openai"),
    ("apps: {a: {}}", "apps.a", "the app has no key"),
    ("apps: {a: {keys: []}}", "apps.a.keys", "empty"),
    ("apps: {a: {keys: [k]}}\nidentity: [{issuer: https://i, audience: g}]", "identity", "app_claim"),
    (
        "apps: {a: {keys: [k]}}\nidentity: [{issuer: https://i, audience: g, app: a}, "
        "{issuer: https://i/, audience: h, app: a}]",
        "identity[1].issuer",
        "keep one entry",
    ),
    ("apps: {a: {keys: [k]}}\nadmin: {keys: {olga: short}}", "admin.keys.olga", "20 characters"),
    ("apps: {a: {keys: [k]}}\nadmin: {keys: {olga: {key: long-enough-to-be-one, role: god}}}", "role", "owner"),
    ("apps: {a: {keys: [k]}}\nserver: {database: mysql://x/y}", "server.database", "sqlite:///"),
    ("apps: {a: {keys: [k]}}\nserver: {database: postgresql://h/d}", "server.database", "server.pepper"),
    (
        "apps: {a: {keys: [k]}}\nserver: {database: postgresql://u@h:port/d}",
        "server.database",
        "not a database URL",
    ),
    ("apps: {a: {keys: [k]}}\nserver: {pepper: short}", "server.pepper", "32 characters"),
    ("apps: {a: {keys: [k]}}\nserver: {workers: 0}", "server.workers", "1"),
    ("apps: {a: {keys: [k]}}\nserver: {trusted_proxies: [balancer]}", "server.trusted_proxies", "10.0.0.0/8"),
    ("apps: {a: {keys: [k]}}\nprices: {p/m: [{input: 1, output: 1}, {input: 2, output: 2}]}", "prices", "later since"),
    ("apps: {a: {keys: [k]}}\nprices: {p/m: {input: 1, output: 1, since: soon}}", "prices.p/m.since", "2027-01-01"),
    (
        "apps: {a: {keys: [k]}}\nprices: {p/m: {input: 1, output: 1, tiers: [{above: 9 tokens, input: 1, output: 1}, "
        "{above: 5 tokens, input: 1, output: 1}]}}",
        "prices.p/m",
        "not in ascending order",
    ),
    ("apps: {a: {keys: [k]}}\ncurrencies: {EUR: 1.08}", "currencies.EUR", "1.08 USD"),
]


@pytest.mark.parametrize(("text", "place", "said"), WRONG, ids=[each[2] + str(n) for n, each in enumerate(WRONG)])
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, place: str, said: str) -> None:
    error = refusal(tmp_path, HEAD + text + "\n")
    told = error.render()
    assert place in told, told
    assert said in told, told
    assert any(f":{line}:" in told for line in (4, 5)), told


def test_everything_together_loads(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(
        HEAD
        + """
server: {database: "sqlite:///g.db", workers: 2, trusted_proxies: [10.0.0.0/8]}
currencies: {EUR: 1.08 USD}
prices:
  p/m:
    - {input: 2, output: 8, audio_input: 40, reasoning: 9}
    - {since: 2027-01-01, input: 1, output: 4, tiers: [{above: 200000 tokens, input: 2, output: 8}]}
  p/n: {input: 1, output: 2, searches: 10}
organisations: {acme: {budget: [5000 EUR per month, 300 USD in 24 hours]}}
teams: {support: {organisation: acme, limits: {tokens: 90000 per minute, max_concurrent: 20},
  budget: {spend: 9 EUR per week, warn: [80%], webhook: "https://hooks.example.com/x"}}}
apps:
  same: {keys: [k], budget: {spend: 9 EUR per week, warn: [80%], webhook: "https://hooks.example.com/x"}}
  bot:
    team: support
    budget: {spend: 5 EUR per week, time_zone: Europe/Berlin, warn: [80%, 100%], webhook: "https://hooks.example.com/x"}
    per_user: {budget: 1 USD per day, limits: {requests: 5 per minute}}
    surfaces: [openai]
    networks: [10.0.0.0/8, "2001:db8::/32"]
identity: [{issuer: "https://login.example.com", audience: gatehouse, app_claim: azp}]
admin: {listen: "127.0.0.1:9000", keys: {olga: {key: long-enough-to-be-one, role: owner}}}
"""
    )
    config = load(path, environ={})
    assert [str(each.since) for each in config.prices["p/m"]] == ["None", "2027-01-01"]
    assert config.prices["p/m"][1].tiers[0].above == 200_000
    assert len(config.prices["p/n"]) == 1
    assert config.apps["bot"].budget[0].spend.currency == "EUR"
    assert config.organisations["acme"].budget[1].spend.hours == 24
    assert config.admin.keys["olga"].role == "owner"
