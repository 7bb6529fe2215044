"""The base of every section: a frozen struct that refuses unknown keys, and the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from config.document import Path
from config.findings import Substituted, wrong
from config.raw import OptionConflict, RawConfig, Remark


class Struct(BaseModel):
    """A frozen struct, strict about types, that refuses unknown keys.

    A struct with a `shorthand` may be written as a plain string: the value of that one field.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False, title=None
    )
    shorthand: ClassVar[str] = ""
    # One of these sets of keys must be present: the JSON schema's version of the struct's own checks.
    needs: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Old names of keys, with their new names: a file with old names works, with a warning (`config.renames`).
    renamed: ClassVar[Mapping[str, str]] = {}
    # Old values of a key, or of each entry of its list: a regular expression and its replacement.
    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = {}

    # What to write instead if packages that it needs are not installed; empty if there is no alternative.
    without_extra: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, data: Any) -> Any:
        if cls.shorthand and isinstance(data, str):
            return {cls.shorthand: data}
        # Options that do not come from a file, such as those of apps in the database, can have old names too.
        if cls.renamed and isinstance(data, dict) and not cls.renamed.keys().isdisjoint(data):
            return {key if (new := cls.renamed.get(key, key)) in data else new: value for key, value in data.items()}
        return data

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """Yields the options that need packages of an extra: their path in `values`, and the extra.

        `values` are as the file has them, valid or not.
        """
        return iter(())

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """Yields options that conflict with the rest of the file. `path` is the path of `values` in it."""
        return iter(())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The mapping, or a string if the struct has a shorthand."""
        written = handler(schema)
        resolved = handler.resolve_ref_schema(written)
        if cls.needs:
            resolved["anyOf"] = [{"required": list(each)} for each in cls.needs]
        _add_old_names(resolved, cls.renamed)
        _add_old_values(resolved, cls.renamed_values)
        if not cls.shorthand:
            return written
        mapping = dict(resolved)
        resolved.clear()
        resolved.update({"anyOf": [mapping["properties"][cls.shorthand], mapping]})
        return written


def _add_old_names(schema: dict[str, Any], renamed: Mapping[str, str]) -> None:
    """Adds old names of keys to the JSON schema; editors show them as deprecated."""
    required = schema.get("required", [])
    for old, new in renamed.items():
        note = {"deprecated": True, "description": f"Renamed to `{new}`."}
        schema["properties"][old] = {**schema["properties"][new], **note}
        if new in required:
            required.remove(new)
            schema.setdefault("allOf", []).append({"anyOf": [{"required": [new]}, {"required": [old]}]})
        for each in schema.get("anyOf", []):
            if each.get("required") == [new]:
                schema["anyOf"].append({"required": [old]})
                break


def _add_old_values(schema: dict[str, Any], renamed: Mapping[str, tuple[str, str]]) -> None:
    """Adds old forms of values to the JSON schema; editors show them as deprecated."""
    for key, (pattern, _) in renamed.items():
        if key in schema["properties"]:
            old = {"type": "string", "pattern": pattern, "deprecated": True}
            schema["properties"][key] = _or_old(schema["properties"][key], old)


def _or_old(value: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    if "items" in value:
        return {**value, "items": _or_old(value["items"], old)}
    if "anyOf" in value:
        return {**value, "anyOf": [_or_old(each, old) for each in value["anyOf"]]}
    return {"anyOf": [value, old]}


class Component(Struct):
    """The options of one `kind` of component. Each is defined next to its component."""

    kind: str

    def remarks(self) -> Iterator[Remark]:
        """Yields the warnings of `gatehouse check` about valid options."""
        return iter(())


@dataclass(frozen=True)
class Ref:
    """Marks a string that names an entry of another section; with `prefix`, only the part before the first slash."""

    section: str
    noun: str
    prefix: bool = False
    wildcard: str = ""


@dataclass(frozen=True)
class Coerce:
    """A `BeforeValidator` that converts other values; `widen` adds them to the JSON schema."""

    func: Callable[[Any], Any]
    widen: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Converts the value before the type's own checks."""
        return core_schema.no_info_before_validator_function(self.func, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The type's schema, widened by the other accepted values."""
        return self.widen(handler(schema))


@dataclass(frozen=True)
class Checked:
    """An `AfterValidator` of text; the JSON schema has `pattern` for it."""

    func: Callable[[Any], Any]
    pattern: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks the text after the type's own checks."""
        return core_schema.no_info_after_validator_function(self.func, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A string with the pattern."""
        return {**handler(schema), "pattern": self.pattern}


def _whole(value: object) -> object:
    if isinstance(value, Substituted) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return value


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, Substituted) else value


def _number(value: object) -> object:
    if isinstance(value, Substituted) and re.fullmatch(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?", value):
        return float(value)
    return value


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_MODEL_NAME = r"[^\s*]+"
_LABEL = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
WEB = r"^https?://\S+$"


def _name(value: str) -> str:
    if re.fullmatch(_NAME, value) is None:
        raise wrong(
            "a name may only have letters, digits, dots, dashes and underscores, and starts with a letter or digit",
            "choose another name",
        )
    return value


def _model_name(value: str) -> str:
    if re.fullmatch(_MODEL_NAME, value) is None:
        raise wrong("a model name can't contain spaces or *", "choose another name")
    return value


def _label(value: str) -> str:
    if re.fullmatch(_LABEL, value) is None:
        raise wrong("a label has 1 to 64 letters, digits and _ . : -", "write it like hr or team:sales")
    return value


def _checked_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        is_port_valid = parts.port is None or parts.port > 0
    except ValueError:
        is_port_valid = False
    if not is_port_valid or parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", value):
        raise wrong("{value} is not a URL", "write it like https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise wrong("the URL contains credentials", "put them in api_key or headers, where they are masked")
    return parts


def _http_url(value: str) -> str:
    parts = _checked_url(value)
    if parts.query or parts.fragment:
        raise wrong("the URL has a query or a fragment", "remove everything after the path")
    return value.rstrip("/")


def _exact_url(value: str) -> str:
    _http_url(value)
    return value


def _page_url(value: str) -> str:
    if _checked_url(value).fragment:
        raise wrong("the URL has a fragment", "remove the # and everything after it")
    return value


def one_or_several(value: object) -> object:
    """Converts a single value to a tuple with that entry."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def or_one(several: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema: the list, or a single entry of it."""
    return {"anyOf": [several["items"], several]}


Whole = Annotated[int, BeforeValidator(_whole)]
"""An int; a reference may give digits."""
Flag = Annotated[bool, BeforeValidator(_flag)]
"""A bool; a reference may give `true` or `false`."""
Number = Annotated[float, BeforeValidator(_number)]
"""A float; a reference may give digits."""
Name = Annotated[str, Checked(_name, f"^{_NAME}$")]
"""The name of an entry of a section."""
Label = Annotated[str, Checked(_label, f"^{_LABEL}$")]
"""A label that controls who may see a document."""
ModelName = Annotated[str, Checked(_model_name, f"^{_MODEL_NAME}$")]
"""The name of a model that an app may request."""
PageUrl = Annotated[str, Checked(_page_url, WEB)]
"""The URL of a page; it may have a query."""
HttpUrl = Annotated[str, Checked(_http_url, WEB)]
"""An http or https URL without credentials and query; a final slash is removed."""
ExactUrl = Annotated[str, Checked(_exact_url, WEB)]
"""As `HttpUrl`, but unchanged: a final slash is part of an issuer's name."""
