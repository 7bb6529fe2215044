"""The JSON schema for editors and the check agree: what one of them takes, the other takes too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from config import Config, ConfigError
from config.shape import fields, structs, unwrap
from config.struct import Struct
from gateway.assembly.catalog import KINDS
from gateway.assembly.configuration import load, schema
from tests.unit.config.written import ENVIRON, NAMES, struct_of, value_of

SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
# Every name that a drawn part may refer to.
HOUSE: dict[str, Any] = {
    "version": 1,
    "providers": {"p": {"kind": "simulated"}},
    "models": {"m": {"targets": ["p/x"]}, "e": {"targets": ["p/x"]}},
    "pipelines": {"l": {"model": "m"}},
    "guardrails": {"g": {"kind": "secrets"}},
    "caches": {"c": {}},
    "routers": {"r": {"rules": [{"name": "x", "when": {"app": ["a"]}, "then": "m"}]}},
    "sources": {"s": {"kind": "documents"}},
    "tools": {"t": {"kind": "source", "source": "s", "description": "x"}},
    "organisations": {"o": {}},
    "teams": {"d": {}},
    "apps": {"a": {"keys": ["k"]}},
    "currencies": {"EUR": "1.08 USD"},
}
SECTIONS = [name for name in fields(Config) if name != "version"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema")


def checked(folder: Path, document: Any) -> str:
    """What is wrong by the check; empty for nothing."""
    path = folder / "gatehouse.yaml"
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    try:
        load(path, ENVIRON)
    except ConfigError as error:
        return error.render()
    return ""


def by_schema(document: Any) -> str:
    """What is wrong by the schema; empty for nothing."""
    error = next(iter(VALIDATOR.iter_errors(document)), None)
    return f"{list(error.absolute_path)}: {error.message}" if error is not None else ""


@st.composite
def documents(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """The house with one section's entry drawn anew, and the section's name."""
    document = copy.deepcopy(HOUSE)
    section = draw(st.sampled_from(SECTIONS))
    info = fields(Config)[section]
    annotation, _ = unwrap(info.annotation)
    if section in NAMES:
        document[section]["new"] = draw(value_of(annotation.__args__[1], (), section))
    else:
        document[section] = draw(value_of(info.annotation, tuple(info.metadata), section))
    return document, section


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
@pytest.mark.slow
def test_what_the_check_takes_is_right_by_the_schema(folder: Path, drawn: tuple[dict[str, Any], str]) -> None:
    document, _ = drawn
    wrong = by_schema(document)
    if wrong:
        assert checked(folder, document), f"the schema alone refuses: {wrong}"


def every_kind() -> list[type[Struct]]:
    return sorted({each for each in structs(Config, KINDS) if each is not Config}, key=lambda each: each.__name__)


@pytest.mark.slow
def test_drawn_parts_are_mostly_right(folder: Path) -> None:
    """Else the test above would compare nothing."""
    right = []

    @settings(max_examples=200, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(documents())
    def draw(drawn: tuple[dict[str, Any], str]) -> None:
        right.append(not checked(folder, drawn[0]))

    draw()
    assert sum(right) > len(right) / 3


WRONG = [
    ("providers.p.kind", "opnai"),
    ("models.m.targets", "p/x"),
    ("models.m.targets", [["p/x"]]),
    ("models.m.targets", ["p"]),
    ("models.m.timeout", 30),
    ("models.m.timeout", "5 sec"),
    ("models.m.timeout", {"s": 5}),
    ("models.m.retry", [2]),
    ("models.m.retry", {"attempts": "two"}),
    ("models.m.retry", {"on": ["timeouts"]}),
    ("models.m.strategy", "random"),
    ("models.m.hedge", {}),
    ("models.m.unknown", 1),
    ("models", ["m"]),
    ("server.max_body", "10 apples"),
    ("server.max_body", 10),
    ("server.watch", "yes"),
    ("server.workers", 0),
    ("server.workers", 1.5),
    ("apps.a.budget", "$50/day"),
    ("apps.a.budget", "50 USD per fortnight"),
    ("apps.a.budget", 50),
    ("apps.a.budget", {"spend": "5 USD per day", "warn": ["200%"]}),
    ("apps.a.limits", {}),
    ("apps.a.limits", {"requests": 60}),
    ("apps.a.limits", {"requests": "60/minute"}),
    ("apps.a.models", "m"),
    ("apps.a.keys", [1]),
    ("caches.c.tiers", [{"kind": "disk"}]),
    ("caches.c.temperature", "warm"),
    ("guardrails.g.then", "mend"),
    ("guardrails.g.kind", "secret"),
    ("guardrails.g.texts", ["users"]),
    ("pipelines.l.answer", ["m"]),
    ("pipelines.l.tools", "t"),
    ("pipelines.l.context", {"top": 3}),
    ("routers.r", {}),
    ("routers.r.rules", [{"name": "x", "then": "m"}]),
    ("sources.s", {"kind": "sql", "model": "m"}),
    ("tools.t.top", 1000),
    ("prices", {"p/x": {"input": 1}}),
    ("prices", {"p/x": {"input": "much", "output": 1}}),
    ("prices", {"p": "free"}),
    ("prices", {"p/x": "cheap"}),
    ("currencies", {"EUR": 1.08}),
    ("observe", {"log": "loud"}),
    ("observe", {"otlp": "localhost:4318"}),
    ("admin", {"keys": {"olga": {"role": "owner"}}}),
    ("version", 2),
    ("agents", {}),
    ("providers", {"a b": {"kind": "simulated"}}),
    ("providers.v", {"kind": "openai"}),
    ("providers.v", {"kind": "anthropic", "api_key": "k", "version": "2020-01-01"}),
    ("providers.v", {"kind": "azure", "api_key": "k"}),
]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=[f"{place}={value}" for place, value in WRONG])
def test_what_is_plainly_wrong_is_wrong_by_both(folder: Path, place: str, value: Any) -> None:
    document = copy.deepcopy(HOUSE)
    inner: Any = document
    *path, last = place.split(".")
    for part in path:
        inner = inner.setdefault(part, {})
    inner[last] = value
    assert checked(folder, document)
    assert by_schema(document)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(every_kind()), st.data())
def test_a_key_that_is_unknown_or_missing_is_wrong_by_the_schema(struct: type[Struct], data: st.DataObject) -> None:
    """The check's own part is `test_config_typos`."""
    part = VALIDATOR.evolve(schema={"$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{struct.__name__}"})
    drawn = data.draw(struct_of(struct))
    if not isinstance(drawn, dict):
        return
    assert not part.is_valid({**drawn, "no_such_key_at_all": 1})
    for key, info in fields(struct).items():
        if info.is_required():
            assert not part.is_valid({name: each for name, each in drawn.items() if name != key})
