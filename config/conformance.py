"""Tests that the options of every component must pass. The test class of each seam inherits them; needs pytest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from config.struct import Component


class ComponentConformance:
    """`config` is the class under test; `options` are its options as the YAML has them, without `kind`."""

    config: type[Component]
    options: Mapping[str, Any] = MappingProxyType({})
    folder: Path = Path()
    """The folder where relative paths of the options start."""

    def read(self, options: Mapping[str, Any]) -> Any:
        """Reads the options as from a file."""
        (kind,) = get_args(self.config.model_fields["kind"].annotation)
        return self.config.model_validate(_as_read({"kind": kind, **options}), context={"folder": self.folder})

    def test_equal_options_give_equal_configs(self) -> None:
        """A reload keeps components whose options are equal."""
        read = self.read(self.options)
        assert read == self.read(self.options)
        assert read.model_dump_json() == self.read(self.options).model_dump_json()

    def test_unknown_options_are_refused(self) -> None:
        """A misspelled option is never ignored."""
        with pytest.raises(ValidationError):
            self.read({**self.options, "no_such_option": 1})

    def test_every_option_has_a_description(self) -> None:
        """`gatehouse config docs` prints the docstring, and a row for each option."""
        assert self.config.__doc__
        assert [name for name, info in self.config.model_fields.items() if not info.description] == []

    def test_the_options_have_a_json_schema(self) -> None:
        """`gatehouse config schema` has every kind."""
        assert TypeAdapter(self.config).json_schema(by_alias=True)["properties"]

    def test_needed_extras_accepts_any_values(self) -> None:
        """`needed_extras` runs before the values are validated."""
        for values in (self.options, dict.fromkeys(self.config.model_fields), {"kind": 3}):
            for path, extra in self.config.needed_extras(_as_read(values)):
                assert isinstance(path, tuple)
                assert extra

    def test_remarks_point_at_options(self) -> None:
        """`gatehouse check` shows each remark at its option."""
        for path, message, cure in self.read(self.options).remarks():
            assert not path or path[0] in self.config.model_fields
            assert message
            assert cure


def _as_read(value: Any) -> Any:
    """Converts lists to tuples, as the YAML reader does."""
    if isinstance(value, Mapping):
        return {key: _as_read(each) for key, each in value.items()}
    return tuple(_as_read(each) for each in value) if isinstance(value, list | tuple) else value
