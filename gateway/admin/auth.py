"""Before the admin API's routes: who has no key is refused before anything he sends is read or looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import HTTPException, Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastapi import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.admin.service import AdminService

# Bodies are names and options; nothing that an administrator says is longer.
MAX_BODY = 1_000_000


class AuthMiddleware:
    """ASGI middleware: the actor is `request.state.actor` behind it."""

    def __init__(
        self, app: ASGIApp, plane: AdminService, refuse: Callable[[Request, Exception], Awaitable[Response]]
    ) -> None:
        """`refuse` writes an error's answer."""
        self._app = app
        self._plane = plane
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.actor = self._plane.identify(request)
            if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise HTTPException(415, "Packed bodies are not read here", {"accept-encoding": "identity"})
        except HTTPException as error:
            answer = await self._refuse(request, error)
            await answer(scope, receive, send)
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
