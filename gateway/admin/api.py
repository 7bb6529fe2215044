"""The admin API as a FastAPI application, with its own error format, and OpenAPI at `openapi.json`."""

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
from gateway.admin.callers import caller_routes
from gateway.admin.operating import operations_routes
from gateway.admin.reading import reading_routes

if TYPE_CHECKING:
    from gateway.admin.service import AdminService


class ErrorBody(BaseModel):
    """The error: `code` for programs, `message` for people."""

    code: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every error response."""

    error: ErrorBody


class _AdminApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """FastAPI's schema, with the key, and without FastAPI's default response for invalid input (422)."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
            for methods in schema["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
        return self.openapi_schema or {}


def admin_api(service: AdminService) -> FastAPI:
    """Creates the app, to be mounted at `/admin` or served separately."""
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
    app.add_middleware(AuthMiddleware, service=service, refuse=_http_error)
    for routes in (caller_routes(service), reading_routes(service), operations_routes(service)):
        app.include_router(routes, prefix="/v1")
    # Callers without a key must not see which endpoints exist.
    app.add_api_route(
        "/openapi.json", app.openapi, dependencies=[Depends(service.needs("viewer"))], include_in_schema=False
    )
    for status in _CODES:
        app.add_exception_handler(status, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_input)
    kinds: list[type[Exception]] = [NotFound, Conflict, ValueError, *_database_errors(service)]
    for kind in kinds:
        app.add_exception_handler(kind, _failed)
    return app


def _database_errors(service: AdminService) -> list[type[Exception]]:
    """The exceptions of an unreachable database; its packages are installed only if one is configured."""
    errors: list[type[Exception]] = [OSError, TimeoutError]
    if service.config().server.database is not None:
        with contextlib.suppress(ImportError):
            from sqlalchemy.exc import SQLAlchemyError

            errors.append(SQLAlchemyError)
        with contextlib.suppress(ImportError):
            from asyncpg import InterfaceError, PostgresError  # type: ignore[import-untyped]

            errors += [InterfaceError, PostgresError]
    return errors


def _error_response(status: int, code: str, message: str) -> Response:
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
    message = str(getattr(error, "detail", "The gateway had an internal error"))
    response = _error_response(status, _CODES.get(status, "error"), message)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _wrong_input(_: Request, error: Exception) -> Response:
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    # Without the input, because it may contain a key.
    message = "; ".join(f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}" for each in problems)
    return _error_response(400, "invalid_request", message[:1000])


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return _error_response(404, "not_found", str(error))
    if isinstance(error, Conflict):
        return _error_response(409, "conflict", str(error))
    if isinstance(error, ValueError):
        return _error_response(400, "invalid_request", str(error))
    structlog.get_logger().error("admin API: database failed", problem=type(error).__name__)
    return _error_response(503, "unavailable", "The database is unreachable")
