"""Tests that every surface must pass. Derive a test class from `SurfaceConformance` and set its `surface`.

    class TestEcho(SurfaceConformance):
        surface = EchoSurface
        requests = (("POST", "/v1/echo"),)

Only tests may import this module, because it needs pytest.
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
    """A runtime without keys and models."""
    book, prices = HealthBook(), Prices({}, {})
    resources = Resources(book)
    dispatcher = Dispatcher({}, book)
    background_calls = BackgroundCalls(dispatcher, Quota(MemoryCounters(), prices), prices, resources.accounts.finished)
    runtime = Runtime(Recorder(RecorderConfig(log="off"), list, environ={}), resources)
    pipeline = Pipeline({}, KeyRing({}), dispatcher, {}, background_calls)
    runtime.install(
        Engine(pipeline, resources.close, digest="", max_body=1_000_000, keepalive_s=60.0, parts={}, prices=prices)
    )
    return runtime


class SurfaceResponse(msgspec.Struct):
    """A response's status, headers and body, and the vendor that the surface assigned."""

    status: int
    headers: dict[str, str]
    body: bytes
    vendor: str


class SurfaceConformance:
    """The tests. They run with an engine that refuses every key."""

    surface: ClassVar[type[Surface]]
    requests: ClassVar[tuple[tuple[str, str], ...]]
    """A method and a path for each route, as callers write them."""

    def message(self, body: bytes) -> str:
        """The message of an error in the surface's format."""
        message: str = json.loads(body)["error"]["message"]
        return message

    @pytest.fixture
    def runtime(self) -> Iterator[Runtime]:
        """A running runtime without keys."""
        runtime = empty_runtime()
        yield runtime
        asyncio.run(runtime.close())

    @pytest.fixture
    def paths(self, runtime: Runtime) -> Paths:
        """The paths of this surface alone; a surface without a vendor also needs one with a vendor."""
        own = [] if self.surface.vendor is not None else [OpenAISurface]
        return Paths(runtime, [*own, self.surface], None)

    def response(self, paths: Paths, method: str, path: str) -> SurfaceResponse:
        """The response that a caller gets."""
        endpoint = paths.find(method, path)
        assert endpoint is not None, f"{method} {path} has no endpoint"
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

    def test_every_route_has_a_request(self, runtime: Runtime) -> None:
        """Every route has a request, and each path starts at the root."""
        vendor = self.surface.vendor
        surface = self.surface(SurfaceParts(runtime, BodyReader(), Vendors([vendor or OPENAI])))
        routes = surface.routes()
        assert 0 < len(routes) <= len(self.requests)
        assert all(route.path.startswith(("/", "(?:/")) for route in routes)

    def test_each_path_requires_a_key(self, paths: Paths) -> None:
        """Each path requires a key, and refuses a caller without one in the surface's format."""
        for method, path in self.requests:
            response = self.response(paths, method, path)
            assert response.status == 401, path
            assert "key" in self.message(response.body)
            assert response.headers["x-request-id"]

    def test_each_path_sets_the_vendor(self, paths: Paths) -> None:
        """Each path sets the vendor, which `surfaces` of an app is checked against."""
        vendor = self.surface.vendor
        for method, path in self.requests:
            assert self.response(paths, method, path).vendor == (vendor.name if vendor is not None else ""), path

    def test_each_path_is_served_under_the_vendor_s_name(self, paths: Paths) -> None:
        """Such as `/openai/v1/...`, for callers that use several vendors on one host."""
        vendor = self.surface.vendor
        if vendor is None:
            return
        for method, path in self.requests:
            prefixed = path if path.startswith(f"/{vendor.name}/") else f"/{vendor.name}{path}"
            assert self.response(paths, method, prefixed).status == 401, prefixed

    def test_another_method_is_refused(self, paths: Paths) -> None:
        """The response lists the methods that the path supports, if the routes declare them."""
        known = {method for method, _ in self.requests}
        for _, path in self.requests:
            response = self.response(paths, "PATCH", path)
            assert response.status in (401, 405), path
            if response.status == 405:
                assert known & set(response.headers["allow"].split(", "))
                assert self.message(response.body)

    def test_a_preflight_is_allowed(self, paths: Paths) -> None:
        """A browser's preflight request needs no key."""
        for _, path in self.requests:
            assert self.response(paths, "OPTIONS", path).status == 204

    def test_a_draining_gateway_responds_503(self, paths: Paths, runtime: Runtime) -> None:
        """With `retry-after`, so that the caller retries elsewhere."""
        runtime.draining = True
        for method, path in self.requests:
            response = self.response(paths, method, path)
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            assert self.message(response.body)


async def _serve(endpoint: Any, call: HttpCall) -> None:
    await endpoint(call)
