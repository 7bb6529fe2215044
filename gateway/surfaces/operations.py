"""Endpoints for health, readiness and metrics. They call no model and are neither traced nor logged."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

if TYPE_CHECKING:
    from gateway.engine.runtime import Runtime


def operations(runtime: Runtime) -> APIRouter:
    """`/livez`, `/readyz`, `/health` with Kubernetes-style aliases, `/metrics`."""
    router = APIRouter(include_in_schema=False)
    started = time.monotonic()

    async def livez() -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        body: dict[str, Any] = {"status": runtime.status}
        if impairments := runtime.impairments():
            body["degraded"] = impairments
        body["parts"] = runtime.parts()
        every_app = "all" in request.query_params
        return JSONResponse(body, 200 if runtime.can_serve(every_app=every_app) else 503)

    async def health() -> Response:
        engine, status = runtime.engine, runtime.status
        return JSONResponse(
            {
                "status": "ok" if status == "ready" else status,
                "degraded": runtime.impairments(),
                "version": runtime.version,
                "config": engine.digest,
                "uptime_s": round(time.monotonic() - started, 1),
                "parts": runtime.parts(),
                "targets": runtime.targets(),
            }
        )

    async def metrics(request: Request) -> Response:
        if not runtime.metrics:
            return JSONResponse({"error": {"message": "metrics are off (observe.metrics)"}}, 404)
        # With several workers, metrics are merged in the older text format, which every scraper reads.
        accept = request.headers.get("accept", "") if runtime.gather is None else ""
        body, content_type = runtime.recorder.render(accept)
        if runtime.gather is not None:
            body = await runtime.gather()
        return Response(body, media_type=None, headers={"content-type": content_type})

    for path in ("/livez", "/health/liveness"):
        router.add_api_route(path, livez)
    for path in ("/readyz", "/health/readiness"):
        router.add_api_route(path, readyz)
    router.add_api_route("/health", health)
    router.add_api_route("/metrics", metrics)
    return router
