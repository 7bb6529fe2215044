"""The table of paths is made of what the surfaces say: methods, parts of paths, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from contract.errors import InvalidRequest
from gateway.surfaces.conformance import SurfaceConformance, empty_runtime
from gateway.surfaces.http import HttpCall
from gateway.surfaces.openai import OPENAI, OpenAISurface
from gateway.surfaces.paths import Paths
from gateway.surfaces.surface import FixedPath, PathMatch, PathPattern, Route, Surface, SurfaceParts

if TYPE_CHECKING:
    from gateway.surfaces.surface import Endpoint


class PaperSurface(Surface):
    """No chat: papers of a vendor that has chats as well, kept, listed, read and thrown away."""

    vendor = OPENAI

    def __init__(self, parts: SurfaceParts) -> None:
        pass

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (
            FixedPath("/v1/papers", partial(self._say, "kept")),
            FixedPath("/v1/papers", partial(self._say, "listed"), method="GET"),
            PathPattern("/v1/papers/{paper}", self._find, methods=("GET", "DELETE")),
            PathPattern("/v1/papers/{paper}/{page}", self._find_page, methods=("GET",), parts={"page": "[0-9]+"}),
        )

    def _find(self, found: PathMatch) -> Endpoint | None:
        if found.values["paper"] == "lost":
            return None
        if found.values["paper"] == "blank":
            raise InvalidRequest("There is nothing on it", param="paper")
        return partial(self._say, f"{found.method} {found.values['paper']}")

    def _find_page(self, found: PathMatch) -> Endpoint:
        return partial(self._say, f"page {found.values['page']} of {found.values['paper']}")

    async def _say(self, what: str, call: HttpCall) -> None:
        await call.respond(200, [], what.encode())


@pytest.fixture
def paths() -> Paths:
    runtime = empty_runtime()
    return Paths(runtime, [OpenAISurface, PaperSurface], None)


def answered(paths: Paths, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    endpoint = paths.find(method, path)
    assert endpoint is not None
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def serve() -> None:
        await endpoint(HttpCall({"headers": [], "path": path, "query_string": b""}, receive, send))

    asyncio.run(serve())
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent)


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/v1/papers", b"kept"),
        ("GET", "/v1/papers", b"listed"),
        ("HEAD", "/v1/papers", b"listed"),
        ("POST", "/openai/v1/papers", b"kept"),
        ("POST", "//papers", b"kept"),
        ("GET", "/v1/papers/a%20b", b"GET a b"),
        ("DELETE", "/openai/v1/papers/one", b"DELETE one"),
        ("GET", "/v1/papers/one/12", b"page 12 of one"),
    ],
)
def test_a_path_and_its_method_lead_to_an_endpoint(paths: Paths, method: str, path: str, said: bytes) -> None:
    assert answered(paths, method, path)[::2] == (200, said)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("DELETE", "/v1/papers", 405, "POST, GET, HEAD"),
        ("POST", "/v1/papers/one", 405, "GET, HEAD, DELETE"),
        ("GET", "/v1/papers/lost", 404, ""),
        ("GET", "/v1/papers/blank", 400, ""),
        ("GET", "/v1/papers/one/last", 404, ""),
        ("OPTIONS", "/v1/papers/one", 204, "GET, HEAD, POST, DELETE, OPTIONS"),
    ],
)
def test_what_is_none_is_refused_in_the_vendor_s_shape(
    paths: Paths, method: str, path: str, status: int, allow: str
) -> None:
    got, headers, body = answered(paths, method, path)
    assert (got, headers.get("allow", "")) == (status, allow)
    if status >= 400:
        assert json.loads(body)["error"]["message"]


def test_what_is_served_is_no_more_told_of_as_missing() -> None:
    """A surface for what a vendor's list of unserved paths names takes it off."""

    class BatchSurface(PaperSurface):
        def routes(self) -> Sequence[Route]:
            return (FixedPath("/v1/batches", partial(self._say, "kept")),)

    runtime = empty_runtime()
    before, after = (Paths(runtime, [OpenAISurface, each], None) for each in (PaperSurface, BatchSurface))
    assert b"The gateway does not serve the vendor endpoint /v1/batches;" in answered(before, "POST", "/v1/batches")[2]
    assert answered(after, "POST", "/v1/batches")[0] == 200
    assert b"did you mean POST /v1/batches?" in answered(after, "POST", "/v1/batchs")[2]


def test_a_class_of_tests_finds_a_surface_that_says_too_little() -> None:
    class Forgetful(SurfaceConformance):
        surface = PaperSurface
        requests = (("POST", "/v1/papers"),)

    with pytest.raises(AssertionError):
        Forgetful().test_every_route_has_a_request(empty_runtime())
