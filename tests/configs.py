"""Configs that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import ConfigError
from gateway.assembly.configuration import load


def refusal(folder: Path, yaml: str) -> ConfigError:
    """The error that a file of `yaml` is refused with."""
    path = folder / "gatehouse.yaml"
    path.write_text(yaml, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path, environ={})
    return raised.value


def assert_refused(folder: Path, yaml: str, words: str) -> None:
    """Fails unless the error holds something that the expression `words` matches."""
    with pytest.raises(ConfigError, match=words):
        raise refusal(folder, yaml)
