"""`/v1/models`, which means several things on one host: the vendors are told apart by their headers."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from access.callers.keys import unknown_model
from gateway.surfaces.request import Whole, run_request
from gateway.surfaces.surface import PathPattern, Surface, wrong_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.exchange import Exchange
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts, Vendor

# Models are names in a config and have no birthday; clients want one.
_CREATED = 1_767_225_600
_CREATED_TEXT = "2026-01-01T00:00:00Z"


class ModelSurface(Surface):
    """Lists the models that the caller may ask for, or tells of one."""

    vendor = None
    meant: ClassVar[Mapping[str, str]] = {"models": "GET /v1/models"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._vendors = parts.vendors
        self._calling = next((each.name for each in parts.vendors if each.verbs), "")

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        parts = {
            "vendor": "|".join(self._vendors.by_name),
            "version": "|".join(["v1", *self._vendors.of_version]),
            "name": r".*[^/\n]",
        }
        return (PathPattern("(?:/{vendor})?/{version}/models(?:/{name})?", self._find, methods=(), parts=parts),)

    def _find(self, found: PathMatch) -> Endpoint | None:
        name = found.values["name"]
        if found.method != "GET":
            # With a verb behind it, it may be a call that we do not serve.
            if found.values["vendor"] in ("", self._calling) and re.search(r":[A-Za-z]+\Z", name):
                return None
            raise wrong_method(found.path, ("GET",))
        vendors, values = self._vendors, found.values
        told = vendors.by_name.get(values["vendor"]) or vendors.of_version.get(values["version"])
        family = told.name if told is not None else self._calling if ":" in name else ""
        return partial(self._serve, told, family, name or None)

    async def _serve(self, told: Vendor | None, family: str, name: str | None, call: HttpCall) -> None:
        """Answers in the manner of the vendor whose path it is, or whose SDK asks. `name` is None for the list."""
        vendor = told or self._vendors.calling(call.headers)
        call.vendor = family

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> Whole:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.shown(), exchange)
            models = engine.pipeline.models(caller)
            if name is not None and name not in models:
                raise unknown_model(name, models)
            body = msgspec.json.encode(vendor.models(models, name))
            exchange.status = 200
            exchange.outcome = "ok"
            return Whole("application/json", body)

        await run_request(self._runtime, call, "GET /v1/models", vendor.errors, answer)


def of_openai_and_anthropic(models: list[str], name: str | None) -> dict[str, Any]:
    """One object that satisfies both SDKs."""
    if name is not None:
        return _item(name)
    return {
        "object": "list",
        "data": [_item(model) for model in models],
        "has_more": False,
        "first_id": models[0] if models else None,
        "last_id": models[-1] if models else None,
    }


def _item(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": "gatehouse",
        "type": "model",
        "display_name": name,
        "created_at": _CREATED_TEXT,
    }
