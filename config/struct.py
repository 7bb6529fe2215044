"""What every section is made of: a frozen struct that knows all its keys, and the types of its fields."""

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
    """Frozen, strict about types, without unknown keys.

    A struct with a `shorthand` may be written as a plain string: the value of that one field.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False, title=None
    )
    shorthand: ClassVar[str] = ""
    # Of these sets of keys one must be there: what the struct's own checks ask for, told to the JSON schema.
    needs: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Old names of keys, with the new ones: a file that has them still works, with a warning (`config.renames`).
    renamed: ClassVar[Mapping[str, str]] = {}
    # Old forms of a key's text, or of each of its texts: a regular expression, and what replaces it.
    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = {}

    # What to write where packages that it needs are not installed; empty where nothing else does.
    without_extra: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, data: Any) -> Any:
        if cls.shorthand and isinstance(data, str):
            return {cls.shorthand: data}
        # Options that come from elsewhere than a file, such as those of apps in the database, have old names too.
        if cls.renamed and isinstance(data, dict) and not cls.renamed.keys().isdisjoint(data):
            return {key if (new := cls.renamed.get(key, key)) in data else new: value for key, value in data.items()}
        return data

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """Which of the options need packages that only an extra brings: their place in `values`, and the extra.

        `values` are as the file has them, right or wrong.
        """
        return iter(())

    @classmethod
    def conflicts(cls, path: Path, values: Mapping[str, Any], beside: RawConfig) -> Iterator[OptionConflict]:
        """What does not go together with the rest of the file. `path` is the place of `values` in it."""
        return iter(())

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The mapping, or a string where there is a shorthand."""
        written = handler(schema)
        resolved = handler.resolve_ref_schema(written)
        if cls.needs:
            resolved["anyOf"] = [{"required": list(each)} for each in cls.needs]
        _add_old_names(resolved, cls.renamed)
        if not cls.shorthand:
            return written
        mapping = dict(resolved)
        resolved.clear()
        resolved.update({"anyOf": [mapping["properties"][cls.shorthand], mapping]})
        return written


def _add_old_names(schema: dict[str, Any], renamed: Mapping[str, str]) -> None:
    """Lets the JSON schema take old names of keys, which editors then show as deprecated."""
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


class Component(Struct):
    """The options of a component: what a `kind` of one seam reads. Each stands beside the component that it is of."""

    kind: str

    def remarks(self) -> Iterator[Remark]:
        """What `gatehouse check` warns of in options that are right."""
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
    """A `BeforeValidator` that makes other values fit; `widen` says in the JSON schema which ones."""

    func: Callable[[Any], Any]
    widen: Callable[[dict[str, Any]], dict[str, Any]]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Reads the value before the type's own checks."""
        return core_schema.no_info_before_validator_function(self.func, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The type's own, and what else is read."""
        return self.widen(handler(schema))


@dataclass(frozen=True)
class Checked:
    """An `AfterValidator` of texts that the JSON schema knows by `pattern`."""

    func: Callable[[Any], Any]
    pattern: str

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks the text after the type's own checks."""
        return core_schema.no_info_after_validator_function(self.func, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A text of the pattern."""
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
        raise wrong("a name is made of letters, digits, dots, dashes and underscores", "choose another name")
    return value


def _model_name(value: str) -> str:
    if re.fullmatch(_MODEL_NAME, value) is None:
        raise wrong("a model's name has no spaces and no *", "choose another name")
    return value


def _label(value: str) -> str:
    if re.fullmatch(_LABEL, value) is None:
        raise wrong("a label is made of up to 64 letters, digits and _ . : -", "write it like hr or team:sales")
    return value


def _checked_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine = False
    if not port_is_fine or parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", value):
        raise wrong("{value} is no URL", "write it like https://host:port/path")
    if parts.username is not None or parts.password is not None:
        raise wrong("the URL holds credentials", "put them where they are masked: api_key or headers")
    return parts


def _http_url(value: str) -> str:
    parts = _checked_url(value)
    if parts.query or parts.fragment:
        raise wrong("the URL ends in a query or a fragment", "leave out what follows the path")
    return value.rstrip("/")


def _exact_url(value: str) -> str:
    _http_url(value)
    return value


def _page_url(value: str) -> str:
    if _checked_url(value).fragment:
        raise wrong("the URL ends in a fragment", "leave out what follows the #")
    return value


def one_or_several(value: object) -> object:
    """Before a tuple: what stands alone is the only one of it."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def or_one(several: dict[str, Any]) -> dict[str, Any]:
    """In the JSON schema: the list, or what would be its only entry."""
    return {"anyOf": [several["items"], several]}


Whole = Annotated[int, BeforeValidator(_whole)]
"""An int; digits from a reference count."""
Flag = Annotated[bool, BeforeValidator(_flag)]
"""A bool; `true` and `false` from a reference count."""
Number = Annotated[float, BeforeValidator(_number)]
"""A float; digits from a reference count."""
Name = Annotated[str, Checked(_name, f"^{_NAME}$")]
"""What an entry of a section may be called."""
Label = Annotated[str, Checked(_label, f"^{_LABEL}$")]
"""What says who may see something."""
ModelName = Annotated[str, Checked(_model_name, f"^{_MODEL_NAME}$")]
"""What an app may put into `model`."""
PageUrl = Annotated[str, Checked(_page_url, WEB)]
"""The address of a page, its query included."""
HttpUrl = Annotated[str, Checked(_http_url, WEB)]
"""An http or https URL without credentials, query and final slash."""
ExactUrl = Annotated[str, Checked(_exact_url, WEB)]
"""The same, kept to the letter: a final slash is part of an issuer's name."""
