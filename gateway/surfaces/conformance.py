"""What holds for every surface, as tests: a class of tests derives from `SurfaceConformance` and names its surface.

    class TestEcho(SurfaceConformance):
        surface = EchoSurface
        asks = (("POST", "/v1/echo"),)

It needs pytest, which nothing else here does: only tests import this module.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import pytest

from access.callers.keys import KeyRing
from access.ledger.prices import Prices
from access.limits.counters import MemoryCounters
from access.limits.quota import Quota
from gateway.engine.background_calls import BackgroundCalls
from gateway.engine.pipeline import Pipeline
from gateway.engine.resources import Resources
from gateway.engine.runtime import Engine, Runtime
from gateway.surfaces.bodies import BodyReader
from gateway.surfaces.http import HttpCall
from gateway.surfaces.openai import OPENAI, OpenAISurface
from gateway.surfaces.paths import Paths
from gateway.surfaces.surface import Surface, SurfaceParts, Vendors
from observability.recorder import Recorder, RecorderConfig
from router.dispatch import Dispatcher
from router.health import HealthBook


def empty_runtime() -> Runtime:
    """A process that knows no key and no model."""
    book, prices = HealthBook(), Prices({}, {})
    resources = Resources(book)
    dispatcher = Dispatcher({}, book)
    asides = BackgroundCalls(dispatcher, Quota(MemoryCounters(), prices), prices, resources.accounts.finished)
    runtime = Runtime(Recorder(RecorderConfig(log="off"), list, environ={}), resources)
    pipeline = Pipeline({}, KeyRing({}), dispatcher, {}, asides)
    runtime.install(
        Engine(pipeline, resources.close, digest="", max_body=1_000_000, keepalive_s=60.0, parts={}, prices=prices)
    )
    return runtime


class SurfaceResponse(msgspec.Struct):
    """What came back: its status, headers and body; and whose API the surface said that it is."""

    status: int
    headers: dict[str, str]
    body: bytes
    vendor: str


class SurfaceConformance:
    """The tests. They run on the paths alone, with an engine that refuses every key."""

    surface: ClassVar[type[Surface]]
    asks: ClassVar[tuple[tuple[str, str], ...]]
    """A method and a path for each of its routes, as callers write them."""

    def message(self, body: bytes) -> str:
        """The message of an error in the surface's shape."""
        found: str = json.loads(body)["error"]["message"]
        return found

    @pytest.fixture
    def runtime(self) -> Iterator[Runtime]:
        """One that is at work, and knows nobody."""
        runtime = empty_runtime()
        yield runtime
        asyncio.run(runtime.close())

    @pytest.fixture
    def paths(self, runtime: Runtime) -> Paths:
        """This surface alone; what is Gatehouse's own needs some vendor beside it."""
        own = [] if self.surface.vendor is not None else [OpenAISurface]
        return Paths(runtime, [*own, self.surface], None)

    def answered(self, paths: Paths, method: str, path: str) -> SurfaceResponse:
        """What a caller gets."""
        endpoint = paths.find(method, path)
        assert endpoint is not None, f"{method} {path} is nobody's"
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        call = HttpCall({"headers": [], "path": path, "query_string": b""}, receive, send)
        asyncio.run(_serve(endpoint, call))
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return SurfaceResponse(
            sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent), call.vendor
        )

    def test_every_route_is_asked(self, runtime: Runtime) -> None:
        """And each is a path from the root."""
        vendor = self.surface.vendor
        surface = self.surface(SurfaceParts(runtime, BodyReader(), Vendors([vendor or OPENAI])))
        routes = surface.routes()
        assert 0 < len(routes) <= len(self.asks)
        assert all(route.path.startswith(("/", "(?:/")) for route in routes)

    def test_each_path_leads_here(self, paths: Paths) -> None:
        """Its callers are asked who they are, and whoever may not hears so in the surface's shape."""
        for method, path in self.asks:
            answered = self.answered(paths, method, path)
            assert answered.status == 401, path
            assert "key" in self.message(answered.body)
            assert answered.headers["x-request-id"]

    def test_apps_can_be_held_to_it(self, paths: Paths) -> None:
        """`surfaces` of an app names the vendor, so that each path says whose it is."""
        vendor = self.surface.vendor
        for method, path in self.asks:
            assert self.answered(paths, method, path).vendor == (vendor.name if vendor is not None else ""), path

    def test_each_path_is_there_below_the_vendor_s_name(self, paths: Paths) -> None:
        """As `/openai/v1/...`, for those who use several on one host."""
        vendor = self.surface.vendor
        if vendor is None:
            return
        for method, path in self.asks:
            below = path if path.startswith(f"/{vendor.name}/") else f"/{vendor.name}{path}"
            assert self.answered(paths, method, below).status == 401, below

    def test_another_method_is_refused(self, paths: Paths) -> None:
        """With those that the path takes, where the routes name them."""
        known = {method for method, _ in self.asks}
        for _, path in self.asks:
            answered = self.answered(paths, "PATCH", path)
            assert answered.status in (401, 405), path
            if answered.status == 405:
                assert known & set(answered.headers["allow"].split(", "))
                assert self.message(answered.body)

    def test_a_browser_may_look_ahead(self, paths: Paths) -> None:
        """Without a key."""
        for _, path in self.asks:
            assert self.answered(paths, "OPTIONS", path).status == 204

    def test_a_gateway_that_ends_says_so(self, paths: Paths, runtime: Runtime) -> None:
        """With a pause, so that the caller comes back to another."""
        runtime.draining = True
        for method, path in self.asks:
            answered = self.answered(paths, method, path)
            assert (answered.status, answered.headers["retry-after"]) == (503, "1")
            assert self.message(answered.body)


async def _serve(endpoint: Any, call: HttpCall) -> None:
    await endpoint(call)
