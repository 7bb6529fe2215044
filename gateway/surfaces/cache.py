"""`/v1/cache`: an app removes its own entries from the caches."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import msgspec

from contract.errors import InvalidRequest, Unavailable, UnknownPath, WrongMethod
from contract.units import parse_duration
from gateway.surfaces.request import BufferedResponse, run_request
from gateway.surfaces.surface import PathPattern, Surface

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.caller import Caller
    from contract.exchange import Exchange
    from contract.tiers import Purge
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts

_PATH = re.compile(r"/v1/cache(?:/(?P<entry>[0-9a-f]{32}))?\Z")


class CacheSurface(Surface):
    """`DELETE /v1/cache?model=NAME&older_than=1h`, and `DELETE /v1/cache/ENTRY` for a single entry."""

    vendor = None
    similar_paths: ClassVar[Mapping[str, str]] = {"cache": "DELETE /v1/cache"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._errors = parts.vendors.first.errors

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (PathPattern("/v1/cache(?:/{rest})?", self._find, methods=(), parts={"rest": "(?s:.*)"}),)

    def _find(self, match: PathMatch) -> Endpoint:
        return partial(self._serve, match.method, match.path)

    async def _serve(self, method: str, path: str, call: HttpCall) -> None:
        """Answers one HTTP request."""
        match = _PATH.match(path)

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> BufferedResponse:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.credentials(), exchange)
            if match is None:
                raise UnknownPath("There is no endpoint at this path under /v1/cache")
            if method != "DELETE":
                raise WrongMethod("/v1/cache accepts only DELETE", allow="DELETE")
            purge = _read_purge(call, caller.app, match["entry"] or "")
            removed = sum([await _purge(engine, each) for each in _limit_to_caller(engine, caller, purge)])
            if match["entry"] and not removed:
                raise UnknownPath("This app has no such entry in the caches")
            exchange.status, exchange.outcome = 200, "ok"
            return BufferedResponse("application/json", msgspec.json.encode({"removed": removed}))

        await run_request(self._runtime, call, f"{method} /v1/cache", self._errors, answer)


def _read_purge(call: HttpCall, app: str, entry: str) -> Purge:
    from contract.tiers import Purge

    query = parse_qs(call.query.decode("latin-1"), keep_blank_values=True)
    if unknown := sorted(set(query) - {"model", "older_than"}):
        name = unknown[0][:50]
        raise InvalidRequest(f"'{name}' is not a known parameter: use 'model' or 'older_than'", param=name)
    before = None
    if "older_than" in query:
        try:
            before = time.time() - parse_duration(query["older_than"][0])
        except ValueError:
            message = "'older_than' must be a number followed by s, m, h or d, such as 1h"
            raise InvalidRequest(message, param="older_than") from None
    return Purge(app, query.get("model", [""])[0], before, bytes.fromhex(entry))


def _limit_to_caller(engine: Engine, caller: Caller, purge: Purge) -> list[Purge]:
    """The purge, limited to the models that the caller may use."""
    if caller.models is None and caller.pipelines is None:
        return [purge]
    allowed = engine.pipeline.models(caller)
    names = [name for name in allowed if purge.model in ("", name)]
    return [msgspec.structs.replace(purge, model=name) for name in names]


async def _purge(engine: Engine, purge: Purge) -> int:
    removed = 0
    for cache in engine.caches.values():
        try:
            removed += await cache.purge(purge)
        except Exception as error:
            raise Unavailable(
                f"A cache is unreachable and may still hold entries ({type(error).__name__}); try again"
            ) from None
    return removed
