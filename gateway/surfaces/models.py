"""`/v1/models`, which means three things on one host: the vendors are told apart by their headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from access.callers.keys import unknown_model
from gateway.surfaces.request import Whole, run_request

if TYPE_CHECKING:
    from contract.exchange import Exchange
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine, Runtime
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.request import WritesErrors

# Models are names in a config and have no birthday; clients want one.
_CREATED = 1_767_225_600
_CREATED_TEXT = "2026-01-01T00:00:00Z"


class ModelSurface:
    """Lists the models that the caller may ask for, or tells of one."""

    def __init__(self, runtime: Runtime, surface: str) -> None:
        self._runtime = runtime
        self._surface = surface

    async def serve(self, call: HttpCall, dialect: WritesErrors, vendor: str, name: str | None) -> None:
        """Answers one HTTP request in the manner of `vendor`. `name` is None for the list."""

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> Whole:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.shown(), exchange)
            models = engine.pipeline.models(caller)
            if name is not None and name not in models:
                raise unknown_model(name, models)
            write = _gemini if vendor == "gemini" else _openai_and_anthropic
            body = msgspec.json.encode(write(models, name))
            exchange.status = 200
            exchange.outcome = "ok"
            return Whole("application/json", body)

        await run_request(self._runtime, call, self._surface, dialect, answer)


def _openai_and_anthropic(models: list[str], name: str | None) -> dict[str, Any]:
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


def _gemini(models: list[str], name: str | None) -> dict[str, Any]:
    if name is not None:
        return _gemini_item(name)
    return {"models": [_gemini_item(model) for model in models]}


def _gemini_item(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}
