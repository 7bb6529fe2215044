"""Public reports about first configurations: what people write by mistake, and a check that let it pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load, load_with_places
from gateway.commands.advice import advise
from gateway.commands.plan import draw_plan, plan
from tests.shown import shown

MODELS = "models: {quick: {targets: [vendor/m]}}\n"


def told(folder: Path, text: str, **environ: str) -> list[tuple[int, str, str]]:
    """Line, message and cure of each error, or of each warning where there is none."""
    path = folder / "gatehouse.yaml"
    path.write_text("version: 1\n" + text)
    try:
        found = advise(*load_with_places(path, environ))
    except ConfigError as error:
        found = error.problems
    return [(each.line, each.message, each.suggestion) for each in found]


@pytest.mark.report(
    "operations", "`gatehouse check` warns about the name of a variable in place of a secret, however it is written"
)
@pytest.mark.parametrize(
    "written",
    [
        "$OPENAI_API_KEY",
        "{OPENAI_API_KEY}",
        "{{ secrets.OPENAI_API_KEY }}",
        "$(OPENAI_API_KEY)",
        "%OPENAI_API_KEY%",
        "<your key>",
        "env:OPENAI_API_KEY",
        "OPENAI_API_KEY",
    ],
)
def test_names_of_secrets(tmp_path: Path, written: str) -> None:
    providers = f'providers: {{vendor: {{kind: openai, api_key: "{written}"}}}}\n'
    ((line, message, cure),) = told(tmp_path, providers + MODELS)
    assert (line, '"${NAME}"' in cure) == (2, True)
    assert "OPENAI" not in message + cure
    headers = f'providers: {{vendor: {{kind: openai, api_key: k, headers: {{x-team: "{written}"}}}}}}\n'
    assert len(told(tmp_path, headers + MODELS)) == 1


@pytest.mark.parametrize("key", ["sk-live-1234567890", "gh-abc_DEF", "AIzaSyA-1_b", "sk-{x}", "a$b", "MTIzNDU2Nzg5"])
def test_secrets_that_are_none_of_that(tmp_path: Path, key: str) -> None:
    assert told(tmp_path, f'providers: {{vendor: {{kind: openai, api_key: "{key}"}}}}\n' + MODELS) == []
    reference = 'providers: {vendor: {kind: openai, api_key: "${KEY}"}}\n'
    assert told(tmp_path, reference + MODELS, KEY="SOME_UPPER_CASE") == []


@pytest.mark.report(
    "operations", "`gatehouse check` warns about a base URL with a path that Gatehouse adds, and suggests the right one"
)
@pytest.mark.parametrize(
    ("kind", "address", "right"),
    [
        ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
        ("openai", "https://api.openai.com/", "https://api.openai.com/v1"),
        ("openai", "http://host:8000/v1/chat/completions", "http://host:8000/v1"),
        ("openai", "http://host:8000/v1/embeddings/", "http://host:8000/v1"),
        ("anthropic", "https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        ("anthropic", "https://host/claude/v1/", "https://host/claude"),
        ("gemini", "https://host/v1beta", "https://host"),
        ("gemini", "https://host/v1beta/models", "https://host"),
        ("gemini", "https://host/x/models/", "https://host/x"),
        ("azure", "https://name.openai.azure.com/openai/deployments/gpt", "https://name.openai.azure.com"),
        ("azure", "https://name.openai.azure.com/openai", "https://name.openai.azure.com"),
    ],
)
def test_addresses(tmp_path: Path, kind: str, address: str, right: str) -> None:
    place = f'endpoint: "{address}", api_version: "2024-10-21"' if kind == "azure" else f'base_url: "{address}"'
    ((line, _, cure),) = told(tmp_path, f"providers:\n  vendor: {{kind: {kind}, api_key: k, {place}}}\n" + MODELS)
    assert (line, cure) == (3, f"write {right}")


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("openai", "https://api.openai.com/v1/"),
        ("openai", "https://api.deepseek.com"),
        ("openai", "http://host:8000/openai/v1"),
        ("anthropic", "https://api.anthropic.com/"),
        ("anthropic", "https://host/v1/anthropic"),
        ("gemini", "https://generativelanguage.googleapis.com"),
        ("gemini", "https://host/models-of-ours"),
        ("azure", "https://name.openai.azure.com/"),
        ("azure", "https://host/openai-of-ours"),
    ],
)
def test_right_addresses(tmp_path: Path, kind: str, address: str) -> None:
    place = f'endpoint: "{address}", api_version: "2024-10-21"' if kind == "azure" else f'base_url: "{address}"'
    assert told(tmp_path, f"providers: {{vendor: {{kind: {kind}, api_key: k, {place}}}}}\n" + MODELS) == []


PARTS = """providers: {vendor: {kind: openai, api_key: k}}
guardrails:
  pii: {kind: secrets}
caches:
  answers: {}
routers:
  way: {rules: [{name: night, when: {hours: "20:00-06:00"}, then: quick}]}
pipelines:
  support: {model: quick%s}
"""


@pytest.mark.report(
    "operations", "`gatehouse check` warns about components that no pipeline uses and pipelines that no model uses"
)
def test_parts_that_nothing_uses(tmp_path: Path) -> None:
    assert [line for line, _, _ in told(tmp_path, PARTS % "" + MODELS)] == [4, 6, 8, 10]
    models = "models: {quick: {targets: [vendor/m]}, support: {pipeline: support}}\n"
    for side in ("guard_input", "guard_output"):
        assert told(tmp_path, PARTS % f", {side}: [pii], cache: answers, router: way" + models) == []


@pytest.mark.report("guardrails", "`gatehouse check` names the apps that can bypass a pipeline's guardrails")
def test_ways_round_a_guardrail(tmp_path: Path) -> None:
    text = """providers: {vendor: {kind: openai, api_key: k}}
guardrails: {pii: {kind: secrets}}
pipelines: {support: {guard_input: [pii], model: quick}}
models: {quick: {targets: [vendor/m]}, support: {pipeline: support}, other: {targets: [vendor/n]}}
apps:
  all: {keys: [one]}
  right: {keys: [two], models: [support]}
  meant: {keys: [three], models: [support, quick]}
"""
    ((line, message, cure),) = told(tmp_path, text)
    assert (line, "quick" in message, "add models: [support, other]" in cure) == (7, True, True)
    assert (
        told(tmp_path, text.replace("guard_input: [pii], ", "").replace("guardrails: {pii: {kind: secrets}}", "")) == []
    )


@pytest.mark.report(
    "guardrails", "`gatehouse check` warns about guessable keys: for masking, and of apps that other machines can reach"
)
def test_short_keys(tmp_path: Path) -> None:
    text = """providers: {vendor: {kind: openai, api_key: k}}
guardrails: {pii: {kind: personal_data, key: "${MASKING}"}}
pipelines: {support: {guard_input: [pii], model: quick}}
models: {quick: {targets: [vendor/m]}, support: {pipeline: support}}
apps: {bot: {keys: [short], models: [support]}, hashed: {keys: ["sha256:%s"], models: [support]}}
server: {listen: "%s:8080"}
"""
    outside = text % ("ab" * 32, "0.0.0.0")
    assert [line for line, _, _ in told(tmp_path, outside, MASKING="abc")] == [3, 6]
    assert [line for line, _, _ in told(tmp_path, text % ("ab" * 32, "127.0.0.1"), MASKING="a" * 32)] == []


@pytest.mark.report("operations", "An error in a first configuration file names its place and a fix that works")
@pytest.mark.parametrize(
    ("text", "place", "cure"),
    [
        ("server: {listen: 8080}\n", "2:18  server.listen", "write 127.0.0.1:8080"),
        ('server: {listen: "8080"}\n', "2:18  server.listen", "write 127.0.0.1:8080"),
        ('server: {listen: ":8080"}\n', "2:18  server.listen", "write 0.0.0.0:8080"),
        ("apps: {bot: {keys: [k], team: 7}}\n", "2:31  apps.bot.team", 'put it in quotes: "7"'),
        ("guardrails: {g: {kind: personal_data, types: {emial: block}}}\n", "2:47  guardrails.g.types.emial",
         "did you mean email? Or add it to patterns"),
        ("\u00a0\u00a0models: {}\n", "2:1  ", "or write a normal space"),
        ("models: {m: {\u200btargets: [a/b]}}\n", "2:14  models.m.", "remove the invisible character in it (U+200B)"),
        ("providers: {o: {kind: openai, api_key: \u201ck\u201d}}\n", "2:40  providers.o.api_key", "curly quotes"),
    ],
)  # fmt: skip
def test_cures(tmp_path: Path, text: str, place: str, cure: str) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text("version: 1\n" + text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    said = caught.value.render()
    assert f"gatehouse.yaml:{place}" in said
    assert cure in said


@pytest.mark.report("guardrails", "`gatehouse plan` shows how a pipeline handles each type of personal data")
def test_the_plan_tells_types(tmp_path: Path) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_text("""version: 1
providers: {vendor: {kind: openai, api_key: k}}
guardrails: {pii: {kind: personal_data, types: {card: block, person: allow}}}
pipelines: {support: {guard_input: [pii], model: quick}}
models: {quick: {targets: [vendor/m]}, support: {pipeline: support}}
""")
    assert "(personal_data: mask, block card, allow person; " in shown(draw_plan(plan(load(path, {}), "support")))
