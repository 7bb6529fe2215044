"""Values as people paste them: references of other languages, keys with their quotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.problems import ConfigError
from gateway.assembly.configuration import load

FILE = "version: 1\nproviders: {o: {kind: openai, %s}}\nmodels: {o: {targets: [o/m]}}\n"


@pytest.mark.report("config", "A pasted value that cannot be right is refused with a fix")
@pytest.mark.parametrize(
    ("field", "cure"),
    [
        ("api_key: $OPENAI_API_KEY", "${NAME}"),
        ("api_key: '%OPENAI_API_KEY%'", "${NAME}"),
        ("api_key: '{{ secrets.OPENAI }}'", "${NAME}"),
        ("api_key: '${{ secrets.OPENAI }}'", "${"),
        ("api_key: 'env:OPENAI_API_KEY'", "${NAME}"),
        ("api_key: '\"sk-abcdef\"'", "remove the quotes"),
        ("api_key: '${QUOTED}'", "remove the quotes"),
        ("api_keys: [Bearer sk-abcdef]", "write only the key"),
    ],
)
def test_pasted_values_are_refused(tmp_path: Path, field: str, cure: str) -> None:
    (tmp_path / "g.yaml").write_text(FILE % field)
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "g.yaml", {"QUOTED": "'sk-abcdef-123456'"})
    assert cure in str(refused.value)
    assert "abcdef" not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-proj-$x", "$a", "{}", "a'b'", "env", "100%"])
def test_keys_with_odd_signs_are_taken(tmp_path: Path, key: str) -> None:
    (tmp_path / "g.yaml").write_text(FILE % f'api_key: "{key}"')
    load(tmp_path / "g.yaml", {})


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text("version: 1\nproviders: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n")
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(tmp_path / "g.yaml", {})
