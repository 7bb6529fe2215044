"""Authentication before the admin API's routes: a request without a key is refused before its body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import HTTPException, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.admin.service import AdminService

# Bodies contain names and options, so this limit is sufficient.
MAX_BODY = 1_000_000


class AuthMiddleware:
    """ASGI middleware that sets `request.state.actor`."""

    def __init__(
        self, app: ASGIApp, service: AdminService, refuse: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        """`refuse` creates the response for an error."""
        self._app = app
        self._service = service
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.actor = self._service.identify(request)
            if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise HTTPException(
                    415, "Compressed bodies are not supported: send it uncompressed", {"accept-encoding": "identity"}
                )
        except HTTPException as error:
            response = await self._refuse(request, error)
            await response(scope, receive, send)
            return
        await self._app(scope, _bounded(receive), send)


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise HTTPException(413, f"The body is larger than {MAX_BODY} bytes")
        return message

    return bounded
