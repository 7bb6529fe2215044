"""Whatever single key of a right config is misspelled, the error points at its line; and no error shows a secret."""

import re
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config import ConfigError, show, show_json
from config.document import read_document
from config.references import References
from gateway.assembly.configuration import load
from gateway.providers.openai import OpenAIConfig

SECRETS = {
    "PLAIN": "sk-live-from-the-environment-9x7q",
    "HEADER": "Bearer abcdef0123456789zz",
}
WRITTEN = ("literal-upstream-credential-k3y", "literal-caller-credential-k4y", "literal-header-credential-k5y")
VALID = f"""\
version: 1
server:
  listen: 127.0.0.1:8080
  max_body: 10MB
  drain: 20s
  watch: false
  keepalive: 10s
access: keys
providers:
  first:
    kind: openai
    api_keys:
      - ${{PLAIN}}
      - {WRITTEN[0]}
    base_url: http://127.0.0.1:9/v1
    trusted: true
    connect: 2s
    max_connections: 10
    unsupported_params: refuse
    headers:
      authorization: ${{HEADER}}
      x-team: {WRITTEN[2]}
  second:
    kind: anthropic
    api_key: os.environ/PLAIN
    version: 2026-10-21
    auth: bearer
  third: {{kind: simulated, dialect: gemini, script: [ok, 429]}}
models:
  quick:
    targets:
      - first/a/b
      - target: second/x
        weight: 2
        priority: 2
        context_window: 1000 tokens
        max_output: 100 tokens
    strategy: weighted
    first_token: 1s
    idle: 2s
    timeout: 20s
    retry:
      attempts: 3
      backoff: 0s
      max_backoff: 1s
      on: [timeout]
    fallback:
      on: [refusal]
    hedge:
      after: 800ms
    breaker:
      failures: 2
      window: 1m
      cooldown: 5s
    on_refusal: fallback
  whole:
    pipeline: main
pipelines:
  main:
    context:
      from: [here]
      max_passages: 3
      max_tokens: 500 tokens
    model: quick
sources:
  here:
    kind: folder
    path: .
    glob: ["*.md"]
apps:
  bot:
    keys: [{WRITTEN[1]}, "sha256:{"ab" * 32}"]
    models: [quick]
observe:
  otlp: http://127.0.0.1:4318
  headers:
    x-key: ${{HEADER}}
  sample: 50%
  log: text
  content: never
  metrics: true
  service_name: x
"""
LINES = VALID.split("\n")
GIVEN = {"first", "second", "third", "quick", "whole", "main", "here", "bot", "authorization", "x-team", "x-key"}
KEYS = [
    (number, match.start(1), match[1])
    for number, line in enumerate(LINES)
    for match in re.finditer(r"(?:^[ -]*|[{,] ?)([a-z_-]+):", line)
    if match[1] not in GIVEN
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("typos")


def problems(folder: Path, text: str) -> ConfigError:
    path = folder / "gatehouse.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, SECRETS)
    return caught.value


def assert_no_secret(text: str) -> None:
    for secret in (*SECRETS.values(), *WRITTEN):
        assert secret not in text
        assert secret[5:-5] not in text


Typo: TypeAlias = tuple[int, int, str, str]


@st.composite
def typos(draw: st.DrawFn) -> Typo:
    number, column, key = draw(st.sampled_from(KEYS))
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    wrong = draw(
        st.sampled_from(
            [
                key[:at] + key[at + 1 :],
                key[:at] + letter + key[at + 1 :],
                key[:at] + letter + key[at:],
                key[:at] + key[at : at + 2][::-1] + key[at + 2 :],
            ]
        )
    )
    return number, column, key, wrong


def misspelled(number: int, column: int, key: str, wrong: str) -> str:
    line = LINES[number]
    return "\n".join([*LINES[:number], line[:column] + wrong + line[column + len(key) :], *LINES[number + 1 :]])


def test_the_config_is_right(folder: Path) -> None:
    path = folder / "right.yaml"
    path.write_text(VALID)
    config = load(path, SECRETS)
    first = config.providers["first"]
    assert isinstance(first, OpenAIConfig)
    assert first.keys[0].reveal() == SECRETS["PLAIN"]
    for text in (show(config), show_json(config), repr(config), str(config), f"{config.apps}"):
        assert_no_secret(text)
    assert "••••9x7q" in show(config)


@settings(max_examples=150, deadline=None)
@given(typos())
@pytest.mark.slow
def test_a_typo_is_reported_where_it_is(folder: Path, typo: Typo) -> None:
    number, column, key, wrong = typo
    siblings = {name for _, _, name in KEYS}
    assume(wrong and wrong != key and wrong not in siblings)
    error = problems(folder, misspelled(*typo))
    assert any((p.line, p.column) == (number + 1, column + 1) for p in error.problems), error.render()
    assert_no_secret(error.render())
    assert_no_secret(repr(error) + str(error) + repr(error.problems))


def outcome(folder: Path, text: str) -> str:
    """What a user would see: the problems, or the effective config."""
    path = folder / "gatehouse.yaml"
    path.write_text(text)
    try:
        return show(load(path, SECRETS))
    except ConfigError as error:
        return error.render()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(KEYS), st.sampled_from(["", "[]", "{}", "12", "x: y", "'", "[1, {", "!t 5", "true", "*x", "- -"])
)
@pytest.mark.slow
def test_a_wrong_value_never_shows_a_secret(folder: Path, key: tuple[int, int, str], value: str) -> None:
    number, column, name = key
    changed = LINES[number][:column] + f"{name}: {value} # was {LINES[number][column:]}"
    assert_no_secret(outcome(folder, "\n".join([*LINES[:number], changed, *LINES[number + 1 :]])))


@pytest.mark.parametrize("section", ["apps:\n  keys: [{}]", "providers:\n  api_key: {}", "apps:\n  keys: {}"])
def test_a_section_whose_name_is_missing_shows_no_secret(folder: Path, section: str) -> None:
    secret = "literal-caller-credential-k4y"
    assert secret not in outcome(folder, "version: 1\n" + section.format(secret) + "\n")


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, len(VALID) - 1), st.sampled_from(["{", "]", '"', ":", ": ", "\t", "\n", "\x07", "#", "&", "*", "%"])
)
@pytest.mark.slow
def test_a_broken_text_never_shows_a_secret(folder: Path, at: int, noise: str) -> None:
    shown = outcome(folder, VALID[:at] + noise + VALID[at:])
    for secret in (*SECRETS.values(), *WRITTEN):
        assert secret not in shown


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,\n\t ?0.$~<=", max_size=40))
def test_any_text_is_read_or_has_a_fault(folder: Path, text: str) -> None:
    document = read_document(text, References({}, folder))
    assert document.data is None or document.values
    for fault in document.faults:
        assert fault.message
        assert fault.span.line <= text.count("\n") + 1


def test_a_header_that_has_slipped_out_shows_no_secret(folder: Path) -> None:
    secret = "literal-header-credential-k5y"
    for indent in ("      ", "    ", "  "):
        text = f"version: 1\nproviders:\n  up:\n    kind: openai\n    headers:\n{indent}x-team: {secret}\n"
        assert secret not in outcome(folder, text)
