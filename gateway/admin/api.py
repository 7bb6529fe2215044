"""The admin API as one application, with its own errors and OpenAPI at `openapi.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from gateway import __version__
from gateway.access.registry import InTheWay, NotThere
from gateway.admin.callers import callers
from gateway.admin.door import Door
from gateway.admin.operating import operating
from gateway.admin.reading import reading

if TYPE_CHECKING:
    from gateway.admin.plane import AdminPlane


def admin_api(plane: AdminPlane) -> FastAPI:
    """To be mounted at `/admin`, or served by itself."""
    app = FastAPI(
        title="Gatehouse admin",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(Door, plane=plane, refuse=_http_error)
    for routes in (callers(plane), reading(plane), operating(plane)):
        app.include_router(routes, prefix="/v1")
    # Who has no key learns nothing, not even what there is.
    app.add_api_route(
        "/openapi.json", app.openapi, dependencies=[Depends(plane.needs("viewer"))], include_in_schema=False
    )
    for status in _CODES:
        app.add_exception_handler(status, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_input)
    for kind in (NotThere, InTheWay, ValueError, Exception):
        app.add_exception_handler(kind, _failed)
    return app


def _told(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


_CODES = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "not_allowed",
    404: "not_found",
    405: "wrong_method",
    409: "conflict",
    413: "too_large",
    503: "unavailable",
}


async def _http_error(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    answer = _told(status, _CODES.get(status, "error"), str(getattr(error, "detail", "Something went wrong")))
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


async def _wrong_input(_: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    # Without the input: it may be somebody's key.
    told = "; ".join(f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in problems)
    return _told(400, "invalid_request", told[:1000])


async def _failed(request: Request, error: Exception) -> Response:
    if isinstance(error, NotThere):
        return _told(404, "not_found", str(error))
    if isinstance(error, InTheWay):
        return _told(409, "conflict", str(error))
    if isinstance(error, ValueError):
        return _told(400, "invalid_request", str(error))
    if isinstance(error, OSError | TimeoutError) or type(error).__module__.startswith(("sqlalchemy", "asyncpg")):
        structlog.get_logger().error("the admin API's database failed", problem=type(error).__name__)
        return _told(503, "unavailable", "The database can't be reached")
    structlog.get_logger().error("a mistake of ours", path=request.url.path, exc_info=error)
    return _told(500, "error", "Something went wrong in the gateway")
