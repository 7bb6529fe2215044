"""`/v1/models`, a path that several vendors share: the request's headers show which vendor's SDK calls."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from access.callers.keys import unknown_model
from gateway.surfaces.request import BufferedResponse, run_request
from gateway.surfaces.surface import PathPattern, Surface, wrong_method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.exchange import Exchange
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts, Vendor

# Models are names in a config without a creation date, but clients require one.
_CREATED = 1_767_225_600
_CREATED_TEXT = "2026-01-01T00:00:00Z"


class ModelSurface(Surface):
    """Lists the models that the caller may use, or describes one."""

    vendor = None
    similar_paths: ClassVar[Mapping[str, str]] = {"models": "GET /v1/models"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._vendors = parts.vendors
        self._verb_vendor = next((each.name for each in parts.vendors if each.verbs), "")

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        parts = {
            "vendor": "|".join(self._vendors.by_name),
            "version": "|".join(["v1", *self._vendors.by_version]),
            "name": r".*[^/\n]",
        }
        return (PathPattern("(?:/{vendor})?/{version}/models(?:/{name})?", self._find, methods=(), parts=parts),)

    def _find(self, match: PathMatch) -> Endpoint | None:
        name = match.values["name"]
        if match.method != "GET":
            # A name with a verb may be a call that the gateway does not serve.
            if match.values["vendor"] in ("", self._verb_vendor) and re.search(r":[A-Za-z]+\Z", name):
                return None

            raise wrong_method(match.path, ("GET",))
        vendors, values = self._vendors, match.values
        path_vendor = vendors.by_name.get(values["vendor"]) or vendors.by_version.get(values["version"])
        family = path_vendor.name if path_vendor is not None else self._verb_vendor if ":" in name else ""
        return partial(self._serve, path_vendor, family, name or None)

    async def _serve(self, path_vendor: Vendor | None, family: str, name: str | None, call: HttpCall) -> None:
        """Responds in the format of the path's vendor, else of the calling SDK's. `name` is None for the list."""
        vendor = path_vendor or self._vendors.calling(call.headers)
        call.vendor = family

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> BufferedResponse:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.credentials(), exchange)
            models = engine.pipeline.models(caller)
            if name is not None and name not in models:
                raise unknown_model(name, models)
            body = msgspec.json.encode(vendor.models(models, name))
            exchange.status = 200
            exchange.outcome = "ok"
            return BufferedResponse("application/json", body)

        await run_request(self._runtime, call, "GET /v1/models", vendor.errors, answer)


def openai_anthropic_models(models: list[str], name: str | None) -> dict[str, Any]:
    """One object that both SDKs accept."""
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
