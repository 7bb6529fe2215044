"""The configuration as text: what is in effect, and the schema for editors."""

from __future__ import annotations

import io
import json
from typing import Any

from ruamel.yaml import YAML

from config.root import Config


def effective(config: Config) -> dict[str, Any]:
    """Everything that is in effect, defaults included, as plain values. Secrets are masked, units written out."""
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


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors. A reference may stand wherever a scalar does."""
    written: dict[str, Any] = _with_references(Config.model_json_schema(by_alias=True, mode="validation"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **written, "title": "Gatehouse"}


def _with_references(part: Any) -> Any:
    """The schema with `${...}` allowed beside integers, numbers, flags and choices."""
    if isinstance(part, list):
        return [_with_references(each) for each in part]
    if not isinstance(part, dict):
        return part
    inner = {key: _with_references(each) for key, each in part.items()}
    is_scalar = inner.get("type") in ("integer", "boolean") or "enum" in inner
    if not is_scalar or "const" in inner:
        return inner
    notes = {key: inner.pop(key) for key in ("title", "description", "default", "examples") if key in inner}
    return {**notes, "anyOf": [inner, {"type": "string", "pattern": r"^\$\{.+\}$"}]}
