"""`/v1/cache`: an app removes answers of its own from the caches."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs

import msgspec

from contract.errors import InvalidRequest, Unavailable, UnknownPath, WrongMethod
from contract.units import parse_duration
from gateway.surfaces.request import Whole, run_request
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
    """`DELETE /v1/cache?model=NAME&older_than=1h`, and `DELETE /v1/cache/ENTRY` for one that was wrong."""

    vendor = None
    meant: ClassVar[Mapping[str, str]] = {"cache": "DELETE /v1/cache"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._errors = parts.vendors.first.errors

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (PathPattern("/v1/cache(?:/{rest})?", self._find, methods=(), parts={"rest": "(?s:.*)"}),)

    def _find(self, found: PathMatch) -> Endpoint:
        return partial(self._serve, found.method, found.path)

    async def _serve(self, method: str, path: str, call: HttpCall) -> None:
        """Answers one HTTP request."""
        match = _PATH.match(path)

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> Whole:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.shown(), exchange)
            if match is None:
                raise UnknownPath("There is no endpoint at this path below /v1/cache")
            if method != "DELETE":
                raise WrongMethod("The cache takes DELETE", allow="DELETE")
            asked = _asked(call, caller.app, match["entry"] or "")
            removed = sum([await _purge(engine, each) for each in _within(engine, caller, asked)])
            if match["entry"] and not removed:
                raise UnknownPath("There is no such answer of this app in the caches")
            exchange.status, exchange.outcome = 200, "ok"
            return Whole("application/json", msgspec.json.encode({"removed": removed}))

        await run_request(self._runtime, call, f"{method} /v1/cache", self._errors, answer)


def _asked(call: HttpCall, app: str, entry: str) -> Purge:
    from contract.tiers import Purge

    query = parse_qs(call.query.decode("latin-1"), keep_blank_values=True)
    if unknown := sorted(set(query) - {"model", "older_than"}):
        raise InvalidRequest(f"'{unknown[0][:50]}' is unknown: give 'model' or 'older_than'", param=unknown[0][:50])
    before = None
    if "older_than" in query:
        try:
            before = time.time() - parse_duration(query["older_than"][0])
        except ValueError:
            raise InvalidRequest("'older_than' is a number with s, m, h or d, such as 1h", param="older_than") from None
    return Purge(app, query.get("model", [""])[0], before, bytes.fromhex(entry))


def _within(engine: Engine, caller: Caller, asked: Purge) -> list[Purge]:
    """What is asked, as far as the caller's own models go."""
    if caller.models is None and caller.pipelines is None:
        return [asked]
    allowed = engine.pipeline.models(caller)
    names = [each for each in allowed if asked.model in ("", each)]
    return [msgspec.structs.replace(asked, model=each) for each in names]


async def _purge(engine: Engine, what: Purge) -> int:
    removed = 0
    for cache in engine.caches.values():
        try:
            removed += await cache.purge(what)
        except Exception as error:
            raise Unavailable(
                f"A cache can't be reached, and may still hold answers ({type(error).__name__})"
            ) from None
    return removed
