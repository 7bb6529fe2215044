"""The lines that errors show: what is secret is blacked out, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load

HARMLESS = [
    'admin: {keys: {olga: {key: "${K}", role: viewer}}, wrong: 1}',
    'admin: {keys: {administrator: {key: "${K}", role: administrators}}}',
    'server: {redis: "${REDIS_URL:-}", wrong: 1}',
    "server: {wrong: turquoise}   # every connection is counted, see openai/gpt-5.4-mini and claude-haiku-4-5",
    "server: {wrong: 1}   # since 2026-10-21 at http://vllm.internal:8000/v1, administrators only",
    "guardrails: {g: {kind: format, format: json, schema: {properties: {password: {type: boolean}}}, wrong: 1}}",
    "apps: {a: {keys: [], per_key: {limits: {tokens: everything}}}}",
    "prices: {p/m: {input: 1, output: 1, cache_read: expensive}}",
    'routers: {r: {rules: [{name: x, when: {header: {authorization: "Basic*"}}, then: nonexistent}]}}',
    "models: {keys: {targets: [nowhere/something]}}",
    "observe: {service_name: everything, tokens: everywhere}",
    "models: {m: {targets: [p/m], strategy: alphabetical}}  # Configuration: documentation of the strategies",
    "sources: {secrets: {kind: documents, wrong: administration}}",
]
SECRET = [
    "apps: {a: {keys: [hunterhunter], wrong: 1}}",
    "apps: {a: {keyz: [hunterhunter]}}",
    "providers: {q: {kind: openai, api_key: hunterhunter, wrong: 1}}",
    "providers: {q: {kind: openai, headers: {x-team: hunterhunter}, wrong: 1}}",
    'server: {redis: "${REDIS_URL:-redis://:hunterhunter@h}", wrong: 1}',
    "server: {wrong: 1}   # api_key: hunterhunter",
    "server: {wrong: 1}   # was hunter2hunter2hunter2",
    "server: {wrong: sk-hunterhunterhunter}",
    "server: {password: hunterhunter}",
    "admin: {keys: {olga: {key: hunterhunterhunterhunter, roles: viewer}}}",
    "admin: {keys: [hunterhunter]}",
    "apps:\n  a:\n    keys:\n      - hunterhunter: [\n",
    "apps:\n  a:\n    keys: [\n      hunterhunter\n  }\n",
]
HEAD = "version: 1\nproviders: {p: {kind: simulated}}\n"


def excerpts(folder: Path, text: str) -> str:
    path = folder / "g.yaml"
    path.write_text(HEAD + text + "\n")
    with pytest.raises(ConfigError) as raised:
        load(path, {"K": "a-secret-of-the-environment"})
    return raised.value.render()


@pytest.mark.report("config", "The configuration lines that an error shows have only secrets redacted")
@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_words_are_shown(tmp_path: Path, text: str) -> None:
    shown = excerpts(tmp_path, text)
    assert "•" not in shown
    assert text in shown or "..." in shown


@pytest.mark.parametrize("text", SECRET)
def test_secrets_are_not(tmp_path: Path, text: str) -> None:
    assert "hunter" not in excerpts(tmp_path, text)
