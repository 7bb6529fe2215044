"""Golden files: a broken config in, the whole of what is printed out. Rewrite with REWRITE_GOLDEN=1."""

import os
from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load
from observability.screen import styled
from tests.shown import Terminal, shown

GOLDEN = Path(__file__).parent / "golden"
ENVIRON = {"OPENAI_API_KY": "sk-environment-secret", "EMPTY": ""}


@pytest.mark.parametrize("source", sorted(GOLDEN.glob("*.yaml")), ids=lambda path: path.stem)
def test_rendered_problems(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ConfigError) as caught:
        load(source.name, ENVIRON)
    rendered = caught.value.render().replace(str(GOLDEN), "GOLDEN") + "\n"
    expected = source.with_suffix(".txt")
    if os.environ.get("REWRITE_GOLDEN"):
        expected.write_text(rendered)
    assert rendered == expected.read_text()


def test_color_only_adds_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ConfigError) as caught:
        load("tabs.yaml", ENVIRON)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    colored = shown(styled(caught.value.pieces()), Terminal())
    plain = caught.value.render()
    for escape in ("\x1b[1m", "\x1b[31m", "\x1b[36m", "\x1b[0m"):
        assert escape in colored
        colored = colored.replace(escape, "")
    assert colored == plain + "\n"
    assert "\x1b" not in plain


def test_all_problems_stand_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    with pytest.raises(ConfigError) as caught:
        load("everything.yaml", ENVIRON)
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)
    assert len(places) > 30
