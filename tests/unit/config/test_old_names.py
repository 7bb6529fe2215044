"""Old names of keys and steps still work, with a warning that gives the new one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML
from typer.testing import CliRunner

from config import ConfigError
from config.access import LimitsConfig
from config.display import effective
from config.document import read_document
from config.references import References
from config.renames import apply_renames
from config.root import Config
from config.shape import structs
from gateway.assembly.catalog import KINDS
from gateway.assembly.configuration import load, schema
from gateway.commands.cli import app

OLD = """
version: 1
server: {proxies: [10.0.0.0/8], slowest: 2KB, notice: 3s, keys_without_database: 2h, connections: 50, head_timeout: 9s}
providers: {builtin: {kind: extractive}}
models:
  quick: {targets: [builtin/extractive], too_long: oldest, retry: {on: [timeout, cut]}, limits: {parallel: 7}}
  ask: {pipeline: docs}
guardrails: {json: {kind: format, must_be: json, then: [repair, parallel 2, block]}}
caches: {answers: {per: user, semantic: {wrong_hits: 2%, most: 9}}}
pipelines:
  docs:
    recall: answers
    context: {from: [here], top: 3, budget: 500 tokens}
    answer: quick
    guard_output: [json]
sources: {here: {kind: folder, path: ., read: {chunks: 8}}}
teams: {all: {budget: {spend: 5 USD per day, zone: Europe/Berlin, answer: 20 tokens}}}
"""
NEW = """
version: 1
server:
  {trusted_proxies: [10.0.0.0/8], min_rate: 2KB, shutdown_delay: 3s, key_cache_ttl: 2h, max_connections: 50,
   header_timeout: 9s}
providers: {builtin: {kind: extractive}}
models:
  quick:
    targets: [builtin/extractive]
    on_context_overflow: oldest
    retry: {on: [timeout, interrupted]}
    limits: {max_concurrent: 7}
  ask: {pipeline: docs}
guardrails: {json: {kind: format, format: json, then: [repair, race 2, block]}}
caches: {answers: {scope: user, semantic: {max_false_hit_rate: 2%, max_questions: 9}}}
pipelines:
  docs:
    cache: answers
    context: {from: [here], max_passages: 3, max_tokens: 500 tokens}
    model: quick
    guard_output: [json]
sources: {here: {kind: folder, path: ., read: {max_chunks: 8}}}
teams: {all: {budget: {spend: 5 USD per day, time_zone: Europe/Berlin, default_max_tokens: 20 tokens}}}
"""

PAIRS = [("recall", "cache"), ("parallel", "max_concurrent"), ("parallel 2", "race 2"), ("cut", "interrupted")]


def written(folder: Path, text: str) -> Path:
    path = folder / "gatehouse.yaml"
    path.write_text(text)
    return path


def test_old_names_mean_the_same_as_the_new_ones(tmp_path: Path) -> None:
    old, new = load(written(tmp_path, OLD), {}), load(written(tmp_path, NEW), {})
    assert effective(old) == effective(new)
    assert new.old_names == ()
    lines = OLD.splitlines()
    assert len(old.old_names) == 21
    for use in old.old_names:
        assert use.old in lines[use.line - 1]


def test_a_file_with_thousands_of_old_names_loads_in_linear_time(tmp_path: Path) -> None:
    count = 3_000  # took minutes while each old name went through all places of the file
    text = "version: 1\nproviders: {b: {kind: extractive}}\nmodels: {a: {targets: [b/extractive]}}\nteams:\n"
    text += "".join(f"  t{number}: {{limits: {{parallel: 3}}}}\n" for number in range(count))
    document = read_document(text, References({}, tmp_path))
    began = time.process_time()
    uses = apply_renames(document, Config, KINDS)
    assert time.process_time() - began < 5
    assert [use.line for use in uses] == list(range(5, 5 + count))
    assert ("teams", "t7", "limits", "max_concurrent") in document.values


def test_check_warns_of_each_old_name_and_gives_the_new_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(written(tmp_path, OLD))])
    assert result.exit_code == 0, result.output
    for old, new in PAIRS:
        assert f"`{old}` was renamed to `{new}`" in result.output
        assert f"write {new}" in result.output


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("pipelines: {p: {answer: a, model: a}}", "pipelines.p.answer", "`answer` is the old name of `model`"),
        ("pipelines: {p: {answer: ghost}}", "pipelines.p.model", "there is no model"),
        ("server: {slowest: quick}", "server.min_rate", "is not a size"),
        ("server: {notice: [1]}", "server.shutdown_delay", ""),
    ],
)
def test_an_error_under_an_old_name_points_at_its_place(tmp_path: Path, text: str, path: str, message: str) -> None:
    models = "version: 1\nproviders: {b: {kind: extractive}}\nmodels: {a: {targets: [b/extractive]}}\n"
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, models + text), {})
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (path, 4)
    assert message in problem.message


def test_options_that_come_from_no_file_have_old_names_too() -> None:
    assert LimitsConfig.model_validate({"parallel": 3}).max_concurrent == 3


def test_the_schema_for_editors_takes_old_names_as_deprecated() -> None:
    made = schema()
    ask = {"pipelines": {"p": {"answer": "a", "recall": "c"}}, "version": 1}
    assert not list(Draft202012Validator(made).iter_errors(ask))
    assert list(Draft202012Validator(made).iter_errors({"pipelines": {"p": {"recall": "c"}}, "version": 1}))
    assert not list(Draft202012Validator(made).iter_errors(YAML(typ="safe", pure=True).load(OLD)))


def test_each_new_name_is_one_that_there_is() -> None:
    for struct in structs(Config, KINDS):
        assert set(struct.renamed.values()) <= set(struct.model_fields)
        assert not set(struct.renamed) & set(struct.model_fields)
