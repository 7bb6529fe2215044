"""What every section is made of: a frozen struct that knows all its keys, and the types of its fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from config.findings import Substituted, wrong


class Struct(BaseModel):
    """Frozen, strict about types, without unknown keys.

    A struct with a `shorthand` may be written as a plain string: the value of that one field.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False, title=None
    )
    shorthand: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _widen(cls, data: Any) -> Any:
        return {cls.shorthand: data} if cls.shorthand and isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The mapping, or a string where there is a shorthand."""
        written = handler(schema)
        if not cls.shorthand:
            return written
        resolved = handler.resolve_ref_schema(written)
        mapping = dict(resolved)
        resolved.clear()
        resolved.update({"anyOf": [mapping["properties"][cls.shorthand], mapping]})
        return written


@dataclass(frozen=True)
class Ref:
    """Marks a string that names an entry of another section; with `prefix`, only the part before the first slash."""

    section: str
    noun: str
    prefix: bool = False
    wildcard: str = ""


def _whole(value: object) -> object:
    if isinstance(value, Substituted) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return value


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, Substituted) else value


def _name(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is None:
        raise wrong("a name is made of letters, digits, dots, dashes and underscores", "choose another name")
    return value


def _model_name(value: str) -> str:
    if re.fullmatch(r"[^\s*]+", value) is None:
        raise wrong("a model's name has no spaces and no *", "choose another name")
    return value


def _label(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", value) is None:
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


Whole = Annotated[int, BeforeValidator(_whole)]
"""An int; digits from a reference count."""
Flag = Annotated[bool, BeforeValidator(_flag)]
"""A bool; `true` and `false` from a reference count."""
Name = Annotated[str, AfterValidator(_name)]
"""What an entry of a section may be called."""
Label = Annotated[str, AfterValidator(_label)]
"""What says who may see something."""
ModelName = Annotated[str, AfterValidator(_model_name)]
"""What an app may put into `model`."""
PageUrl = Annotated[str, AfterValidator(_page_url)]
"""The address of a page, its query included."""
HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An http or https URL without credentials, query and final slash."""
ExactUrl = Annotated[str, AfterValidator(_exact_url)]
"""The same, kept to the letter: a final slash is part of an issuer's name."""
