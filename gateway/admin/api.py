"""The admin API as one application, with its own errors and OpenAPI at `openapi.json`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from access.callers.errors import Conflict, NotFound
from gateway import __version__
from gateway.admin.auth import AuthMiddleware
from gateway.admin.callers import callers
from gateway.admin.operating import operating
from gateway.admin.reading import reading

if TYPE_CHECKING:
    from gateway.admin.service import AdminService


class ErrorBody(BaseModel):
    """What is wrong: `code` for programs, `message` for people."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorBody


class _AdminApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """As FastAPI makes it, with the key, and without the answer that it thinks wrong input gets."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
            for methods in schema["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
        return self.openapi_schema or {}


def admin_api(plane: AdminService) -> FastAPI:
    """To be mounted at `/admin`, or served by itself."""
    app = _AdminApp(
        title="Gatehouse admin",
        servers=[{"url": "/admin"}],
        responses={status: {"model": ErrorResponse} for status in (400, 401, 403, 404, 409, 503)},
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_middleware(AuthMiddleware, plane=plane, refuse=_http_error)
    for routes in (callers(plane), reading(plane), operating(plane)):
        app.include_router(routes, prefix="/v1")
    # Who has no key learns nothing, not even what there is.
    app.add_api_route(
        "/openapi.json", app.openapi, dependencies=[Depends(plane.needs("viewer"))], include_in_schema=False
    )
    for status in _CODES:
        app.add_exception_handler(status, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_input)
    kinds: list[type[Exception]] = [NotFound, Conflict, ValueError, *_outages(plane)]
    for kind in kinds:
        app.add_exception_handler(kind, _failed)
    return app


def _outages(plane: AdminService) -> list[type[Exception]]:
    """What a database that is gone may raise; its packages are there only where there is one."""
    found: list[type[Exception]] = [OSError, TimeoutError]
    if plane.config().server.database is not None:
        with contextlib.suppress(ImportError):
            from sqlalchemy.exc import SQLAlchemyError

            found.append(SQLAlchemyError)
        with contextlib.suppress(ImportError):
            from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]

            found += [InterfaceError, PostgresError]
    return found


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
    415: "packed",
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


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return _told(404, "not_found", str(error))
    if isinstance(error, Conflict):
        return _told(409, "conflict", str(error))
    if isinstance(error, ValueError):
        return _told(400, "invalid_request", str(error))
    structlog.get_logger().error("the admin API's database failed", problem=type(error).__name__)
    return _told(503, "unavailable", "The database can't be reached")
