"""What the options of every component keep, as tests. The classes of each seam inherit them; this needs pytest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from config.struct import Component


class ComponentConformance:
    """`config` is the class under test, `options` are options of it as the YAML has them, without `kind`."""

    config: type[Component]
    options: Mapping[str, Any] = MappingProxyType({})
    folder: Path = Path()
    """Where relative paths of the options start."""

    def read(self, options: Mapping[str, Any]) -> Any:
        """The config of such options, as a file would give it."""
        (kind,) = get_args(self.config.model_fields["kind"].annotation)
        return self.config.model_validate(_as_read({"kind": kind, **options}), context={"folder": self.folder})

    def test_its_options_are_read_and_compared(self) -> None:
        """A reload keeps what is equal, so equal options are equal."""
        read = self.read(self.options)
        assert read == self.read(self.options)
        assert read.model_dump_json() == self.read(self.options).model_dump_json()

    def test_an_option_that_it_does_not_have_is_refused(self) -> None:
        """A misspelling is never ignored."""
        with pytest.raises(ValidationError):
            self.read({**self.options, "no_such_option": 1})

    def test_everything_is_described(self) -> None:
        """`gatehouse config docs` prints the docstring, and a row for each option."""
        assert self.config.__doc__
        assert [name for name, info in self.config.model_fields.items() if not info.description] == []

    def test_editors_get_a_schema(self) -> None:
        """`gatehouse config schema` holds every kind."""
        assert TypeAdapter(self.config).json_schema(by_alias=True)["properties"]

    def test_whatever_a_file_holds_it_says_what_it_needs(self) -> None:
        """It is asked for extras before anything else is checked."""
        for values in (self.options, dict.fromkeys(self.config.model_fields), {"kind": 3}):
            for path, extra in self.config.needed_extras(_as_read(values)):
                assert isinstance(path, tuple)
                assert extra

    def test_its_remarks_are_about_its_options(self) -> None:
        """`gatehouse check` shows each beside the option that it is about."""
        for path, message, cure in self.read(self.options).remarks():
            assert not path or path[0] in self.config.model_fields
            assert message
            assert cure


def _as_read(value: Any) -> Any:
    """Lists of YAML are tuples."""
    if isinstance(value, Mapping):
        return {key: _as_read(each) for key, each in value.items()}
    return tuple(_as_read(each) for each in value) if isinstance(value, list | tuple) else value
