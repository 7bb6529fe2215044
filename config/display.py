"""The configuration as text: the effective values, and the JSON Schema for editors."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from config.kinds import NAMES, PLACEHOLDER, Kinds
from config.root import Config


def effective(config: Config) -> dict[str, Any]:
    """All effective values as plain values, including defaults. Secrets are masked, units are written out."""
    values: dict[str, Any] = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    return values


def show(config: Config) -> str:
    """`effective` as YAML."""
    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    out = io.StringIO()
    yaml.dump(effective(config), out)
    return out.getvalue()


def show_json(config: Config) -> str:
    """`effective` as JSON."""
    return json.dumps(effective(config), indent=2, ensure_ascii=False) + "\n"


def schema(kinds: Kinds) -> dict[str, Any]:
    """The JSON Schema of the file, for editors. It allows a reference in place of any scalar."""
    written: dict[str, Any] = _with_references(_with_kinds(kinds))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **written, "title": "Gatehouse"}


def _with_kinds(kinds: Kinds) -> dict[str, Any]:
    """The schema of the file, with the placeholders replaced by the kinds of each seam."""
    known = [(seam, kind, struct) for seam in kinds.seams for kind, struct in kinds.structs(seam, plugins=True).items()]
    inputs: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [("", "validation", TypeAdapter(Config))]
    inputs += [(f"{seam} {kind}", "validation", TypeAdapter(struct)) for seam, kind, struct in known]
    schemas, definitions = TypeAdapter.json_schemas(inputs, by_alias=True)
    seams: dict[str, list[Any]] = {}
    for seam, kind, _ in known:
        seams.setdefault(seam, []).append(schemas[(f"{seam} {kind}", "validation")])
    root = schemas[("", "validation")]
    definitions = definitions["$defs"]
    template = {**definitions[root["$ref"].rpartition("/")[2]], "$defs": definitions}
    written: dict[str, Any] = _filled(template, seams, kinds.listed)
    return written


def _filled(part: Any, seams: Mapping[str, list[Any]], listed: Mapping[str, Sequence[str]]) -> Any:
    if isinstance(part, list):
        return [_filled(each, seams, listed) for each in part]
    if not isinstance(part, dict):
        return part
    if PLACEHOLDER in part:
        return {"oneOf": seams[part[PLACEHOLDER]]}
    if NAMES in part:
        return {"enum": list(listed[part[NAMES]]), "type": "string"}
    return {key: _filled(each, seams, listed) for key, each in part.items()}


# Text that is or contains a reference: an editor does not know its value.
_REFERENCE = r"\$\{|^os\.environ/"
_LIMITED = ("pattern", "enum", "const", "minLength", "maxLength")
_NOTES = ("title", "description", "default", "examples")


def _with_references(part: Any) -> Any:
    """The schema with references allowed wherever a value is restricted; unrestricted text allows them already."""
    if isinstance(part, list):
        return [_with_references(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {key: _inside(key, each) for key, each in part.items()}
    if "patternProperties" in inner:
        # Keys that match no pattern are not allowed.
        inner.setdefault("additionalProperties", False)
    if "oneOf" in inner:
        # A reference can match several kinds, so `oneOf` would fail.
        inner["anyOf"] = inner.pop("oneOf")
        inner.pop("discriminator", None)
    if inner.get("type") == "string" and "pattern" in inner and not {"enum", "const"} & set(inner):
        return {**inner, "pattern": f"(?:{inner['pattern']})|{_REFERENCE}"}
    is_text = inner.get("type") == "string" or isinstance(inner.get("const"), str)
    is_scalar = inner.get("type") in ("integer", "number", "boolean") or "enum" in inner
    if not (is_scalar or (is_text and any(key in inner for key in _LIMITED))) or inner.get("const") == 1:
        return inner
    notes = {key: inner.pop(key) for key in _NOTES if key in inner}
    return {**notes, "anyOf": [inner, {"type": "string", "pattern": _REFERENCE}]}


def _inside(key: str, part: Any) -> Any:
    if key in ("default", "examples", "propertyNames"):
        return part
    if key in ("properties", "patternProperties", "$defs"):
        return {name: _with_references(each) for name, each in part.items()}
    return _with_references(part)
