import json
import re
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import BaseModel

import config as package
from config import Config, ConfigError, Secret, show
from config.shape import structs
from contract.units import parse_duration
from gateway.assembly.catalog import KINDS
from gateway.assembly.configuration import load, manual, schema
from gateway.commands.plan import draw_plan, plan
from gateway.providers.anthropic import AnthropicConfig
from gateway.providers.azure import AzureConfig
from gateway.providers.openai import OpenAIConfig
from gateway.simulator.config import SimulatedConfig
from tests.architecture.floors import PACKAGES
from tests.shown import shown

Kind = TypeVar("Kind", bound=BaseModel)
ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "config" / "examples"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gatehouse.yaml"
    path.write_text(text)
    return path


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    return load(written(tmp_path, f"version: 1\n{text}"), environ or {})


def provider(config: Config, name: str, kind: type[Kind]) -> Kind:
    found = config.providers[name]
    assert isinstance(found, kind)
    return found


def messages(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, environ)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def example_environment(path: Path) -> dict[str, str]:
    return {name: f"sk-example-{name}" for name in re.findall(r"\$\{(\w+)\}", path.read_text())}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    loaded_config = load(path, example_environment(path))
    assert loaded_config.models
    assert all(shown(draw_plan(plan(loaded_config, model))) for model in loaded_config.models)


def test_defaults(tmp_path: Path) -> None:
    made = loaded(tmp_path, "")
    assert (made.server.host, made.server.port) == ("127.0.0.1", 8080)
    assert made.server.max_body == 32_000_000
    assert (made.server.drain, made.server.keepalive, made.server.watch) == (30.0, 15.0, True)
    assert made.access == "open"
    assert made.observe.sample is None


def test_kinds_of_providers(tmp_path: Path) -> None:
    made = loaded(
        tmp_path,
        """
providers:
  new: {kind: anthropic, api_key: k, version: 2026-10-21}
  old: {kind: anthropic, api_key: k}
  local: {kind: openai, base_url: "http://[::1]:8000/v1/"}
  sim: {kind: simulated, script: {a: 429, b: [ok, cut-20]}}
  sim1: {kind: simulated, script: cut-20}
  azure: {kind: azure, endpoint: https://x.openai.azure.com, api_version: 2024-10-21, api_keys: [k1, k2]}
""",
    )
    assert provider(made, "new", AnthropicConfig).auth == "bearer"
    assert provider(made, "old", AnthropicConfig).auth == "x-api-key"
    assert provider(made, "local", OpenAIConfig).base_url == "http://[::1]:8000/v1"
    assert provider(made, "local", OpenAIConfig).keys == ()
    assert provider(made, "sim", SimulatedConfig).script == {"a": ("429",), "b": ("ok", "cut-20")}
    assert provider(made, "sim1", SimulatedConfig).script == {"*": ("cut-20",)}
    assert [key.reveal() for key in provider(made, "azure", AzureConfig).keys] == ["k1", "k2"]


def test_references(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    text = """
server: {listen: "${HOST:-127.0.0.1}:${PORT:-80}", watch: "${WATCH}"}
providers:
  a: {kind: openai, api_key: "${file:key}", max_connections: "${COUNT}"}
  b: {kind: openai, api_key: os.environ/KEY}
  c: {kind: openai, base_url: http://x, api_key: "${NONE:-}", headers: {x-price: "$${not} a $1"}}
"""
    made = loaded(tmp_path, text, {"KEY": "12345678", "COUNT": "7", "WATCH": "false", "PORT": ""})
    assert made.server.listen == "127.0.0.1:80"
    assert made.server.watch is False
    assert provider(made, "a", OpenAIConfig).keys[0].reveal() == "from a file"
    assert provider(made, "a", OpenAIConfig).max_connections == 7
    assert provider(made, "b", OpenAIConfig).keys[0].reveal() == "12345678"
    assert provider(made, "c", OpenAIConfig).keys == ()
    assert provider(made, "c", OpenAIConfig).headers["x-price"].reveal() == "${not} a $1"


def test_what_a_reference_holds_is_never_quoted(tmp_path: Path) -> None:
    text = 'server: {drain: "${SECRET}", listen: "${SECRET}"}\nmodels: {m: {targets: ["${SECRET}/x"]}}'
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, {"SECRET": "hunter2hunter2"})
    assert len(caught.value.problems) == 3
    assert "hunter2" not in caught.value.render()
    assert "the value of ${SECRET}" in caught.value.render()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("access: keys", "access: no app has a key, so no caller has access"),
        ("server: {listen: '0.0.0.0:1'}", 'server.listen: anyone who can reach "0.0.0.0:1" would have access'),
        ("access: open\nserver: {listen: '[::]:1'}", 'access: anyone who can reach "[::]:1" would have access'),
        ("models: {m: {targets: [a/b]}}", 'models.m.targets[0]: there is no provider "a"'),
        ("apps: {a: {keys: [k], models: [m]}}", 'apps.a.models[0]: there is no model "m"'),
        ("apps: {a: {keys: []}}", "apps.a.keys: the list is empty"),
        ("providers: {a: {kind: openai}}", "providers.a: the API key is missing"),
        ("providers: {a: {kind: gemini, api_key: 'a\\nb'}}", None),
        ("server: {drain: 0s}", "server.drain: must be more than 0"),
        ("server: {listen: '1.2.3.4:99999'}", 'server.listen: "1.2.3.4:99999" is not a listen address'),
        ("agents: {}", "agents: unknown section"),
        ("version: 1", "version: duplicate key, first in line 1"),
    ],
)
def test_single_problems(tmp_path: Path, text: str, expected: str | None) -> None:
    if expected is None:
        assert loaded(tmp_path, text)  # single quotes keep the backslash: harmless
    else:
        assert messages(tmp_path, text) == [expected]


def test_a_key_with_a_line_end_is_refused(tmp_path: Path) -> None:
    text = 'providers: {a: {kind: gemini, api_key: "${K}"}}'
    found = messages(tmp_path, text, {"K": "abc\r\nx-evil: 1"})
    assert found == ["providers.a.api_key: the secret contains a character that an HTTP header can't have"]


def test_apps(tmp_path: Path) -> None:
    key = "sha256:" + "0" * 64
    made = loaded(tmp_path, f"apps: {{a: {{keys: [plain, '{key}']}}, b: {{keys: [other], models: '*'}}}}")
    assert made.access == "keys"
    assert made.apps["a"].allowed is None
    assert made.apps["b"].allowed is None
    assert made.apps["a"].key_digests == {"0" * 64, Secret("plain").digest()}


def test_listen_is_replaced_before_it_is_checked(tmp_path: Path) -> None:
    path = written(tmp_path, "version: 1")
    assert load(path, {}, listen="127.0.0.1:0").server.port == 0
    with pytest.raises(ConfigError, match="would have access"):
        load(path, {}, listen="0.0.0.0:80")


def test_digest_follows_text_and_references(tmp_path: Path) -> None:
    text = 'providers: {a: {kind: openai, api_key: "${KEY}"}}'
    first = loaded(tmp_path, text, {"KEY": "one"}).digest
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert first == loaded(tmp_path, text, {"KEY": "one", "OTHER": "x"}).digest
    assert first != loaded(tmp_path, text, {"KEY": "two"}).digest
    assert first != loaded(tmp_path, text + " ", {"KEY": "one"}).digest


def test_show_loads_again(tmp_path: Path) -> None:
    path = EXAMPLES / "fallback.yaml"
    first = load(path, example_environment(path))
    shown = show(first).replace("••••", "sk-long-enough-")
    again = load(written(tmp_path, shown), {})
    assert again.models == first.models
    assert again.server == first.server


def test_secrets() -> None:
    secret = Secret("abcdefghijkl")
    assert f"{secret}" == str(secret) == repr(secret) == f"{secret:>8}" == "••••ijkl"
    assert str(Secret("abcdefghijk")) == "••••"
    assert secret == Secret("abcdefghijkl")
    assert secret != Secret("abcdefghijkm")
    assert secret != "abcdefghijkl"
    assert len({secret, Secret("abcdefghijkl")}) == 1


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"- a", b"a: b\n---\nc: d", b"version: 1\n" + b"#" * 4_000_001])
def test_files_that_are_no_config(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "gatehouse.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert len(caught.value.problems) == 1


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load(tmp_path / "none.yaml", {})


def test_many_aliases_end(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="expands to too much"):
        load(written(tmp_path, "\n".join(lines)), {})


def test_schema_knows_every_section() -> None:
    made = schema()
    assert set(made["properties"]) == set(Config.model_fields)
    assert made["additionalProperties"] is False
    target = made["$defs"]["TargetConfig"]
    assert [each["type"] for each in target["anyOf"]] == ["string", "object"]
    pattern = made["$defs"]["ServerConfig"]["properties"]["drain"]["pattern"]
    assert re.match(pattern, "1.5m")
    assert re.match(pattern, "${DRAIN:-1s}")
    assert not re.match(pattern, "20")
    json.dumps(made)


def test_every_field_is_described() -> None:
    for struct in structs(Config, KINDS):
        for name, info in struct.model_fields.items():
            assert info.description, f"{struct.__name__}.{name}"


def test_the_reference_page_is_current() -> None:
    assert (ROOT / "docs" / "reference" / "configuration.md").read_text() == manual()


def test_the_reference_prints_every_section_once() -> None:
    page = manual()
    # Without the plug-ins that other tests may have loaded.
    ours = {each for each in structs(Config, KINDS) if each.__module__.partition(".")[0] in PACKAGES}
    for struct in ours - {Config}:
        assert page.count(f"{struct.__doc__}") in (1, 2), f"{struct.__name__} is printed once, and may be a kind"
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    assert [each for each in headings if headings.count(each) > 1] == []
    anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors


def test_plan_of_a_pipeline(tmp_path: Path) -> None:
    made = loaded(
        tmp_path,
        """
providers: {builtin: {kind: extractive}}
models:
  quote: {targets: [builtin/extractive], timeout: 20s}
  ask: {pipeline: docs}
pipelines: {docs: {context: {from: [here]}, model: quote}}
sources: {here: {kind: folder, path: .}}
""",
    )
    path = plan(made, "ask")
    context = {"rewrite": "rules", "queries": 1, "lookup_tools": [], "max_passages": 6, "max_tokens": "3000 tokens"}
    assert path["context"] == {"from": {"here": str(tmp_path)}, **context}
    assert parse_duration(path["limits"]["whole_answer"]) == 20
    drawn = shown(draw_plan(path))
    assert "builtin/extractive" in drawn
    assert "pipeline docs" in drawn
    assert "first token 20s, between chunks 2m (10m when thinking), complete answer 20s, stream 20s" in drawn
    with pytest.raises(LookupError, match="did you mean quote"):
        plan(made, "qoute")


def test_the_public_surface() -> None:
    assert {"Config", "ConfigError", "Problem", "show", "Secret"} <= set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)
