"""Routes to read usage, single requests, budgets and the audit log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from access.ledger.entry import REQUEST_FILTERS, WHOSE
from access.limits.counters import Unreachable

if TYPE_CHECKING:
    from gateway.admin.service import AdminService

_TIMES = ("since", "until")
_Time = Annotated[str, Query(description="2026-07-21, 2026-07-21T14:30Z, or 90m, 24h, 7d ago.")]


def reading_routes(service: AdminService) -> APIRouter:
    """`/usage`, `/requests`, `/budgets`, `/audit`."""
    router = APIRouter(dependencies=[Depends(service.needs("viewer"))])
    _ledger(router, service)
    _audit(router, service)

    @router.get("/budgets", tags=["budgets"])
    async def budgets(
        app: str = "", user: Annotated[str, Query(description="A user of `app`.")] = ""
    ) -> list[dict[str, Any]]:
        """Lists what is left of each budget; reservations count as spent. `app` and `user` select a user's budgets."""
        if bool(app) != bool(user):
            raise HTTPException(400, "app and user must be given together")
        try:
            return await service.runtime.resources.accounts.budgets(app, user)
        except Unreachable as error:
            raise HTTPException(503, f"The counters are unreachable: {error}") from None

    return router


def _ledger(router: APIRouter, service: AdminService) -> None:
    @router.get("/usage", tags=["usage"], response_model=None, openapi_extra=_filters_of(WHOSE))
    async def usage(
        request: Request,
        by: Annotated[str, Query(description="Groups, separated by commas: organisation, team, app, key, user, model, "
                                 "target, day, hour.")] = "app",
        since: _Time = "",
        until: _Time = "",
        format: str = "json",  # noqa: A002 - the parameter's name
    ) -> Response:  # fmt: skip
        """Returns sums by full hours. Every group is also a filter: `?by=model&team=support`."""
        from access.ledger import reports

        if format not in ("json", "csv"):
            raise HTTPException(400, "format must be json or csv")
        groups = list(dict.fromkeys(each.strip() for each in by.split(",") if each.strip()))
        where = _filters(request, ("by", "format", *_TIMES))
        lines = await reports.usage(service.database(), groups, _time(since), _time(until), where)
        if format == "csv":
            name = {"content-disposition": 'attachment; filename="usage.csv"'}
            return PlainTextResponse(reports.csv(groups, lines), headers=name, media_type="text/csv; charset=utf-8")
        return JSONResponse([reports.as_object(groups, each) for each in lines])

    @router.get("/requests", tags=["requests"], openapi_extra=_filters_of(REQUEST_FILTERS))
    async def requests(
        request: Request, before: str = "", limit: int = 50, since: _Time = "", until: _Time = ""
    ) -> dict[str, Any]:
        """Lists requests, the newest first; `next` is the `before` of the next page, empty at the end.

        Filters: organisation, team, app, key, user, model, target, status, outcome, request_id.
        """
        from access.ledger import reports

        where = _filters(request, ("before", "limit", *_TIMES))
        page = await reports.requests(
            service.database(), where, before=before, limit=limit, since_ms=_time(since), until_ms=_time(until)
        )
        return {"requests": page.rows, "next": page.next}

    @router.get("/requests/{identity}", tags=["requests"])
    async def one_request(identity: str) -> dict[str, Any]:
        """Returns one request with its attempts."""
        from access.ledger import reports

        row = await reports.request(service.database(), identity)
        if row is None:
            raise HTTPException(404, "The ledger does not contain this request")
        return row


def _audit(router: APIRouter, service: AdminService) -> None:
    @router.get("/audit", tags=["audit"])
    async def audit(before: int | None = None, limit: int = 100) -> dict[str, Any]:
        """Lists the audit log, the newest first; `next` is the `before` of the next page, null at the end."""
        rows = await service.administration().audit.rows(before=before, limit=limit)
        more = rows and len(rows) >= min(max(1, limit), 1000) and rows[-1].number > 1
        return {"audit": [msgspec.to_builtins(each) for each in rows], "next": rows[-1].number if more else None}

    @router.get("/audit/verify", tags=["audit"])
    async def verify(head: str = "") -> dict[str, Any]:
        """Verifies the hash chain; pass an earlier `head` to also detect a truncated end."""
        result = await service.administration().audit.verify(head)
        return {"intact": result.wrong == 0, **msgspec.to_builtins(result)}


def _filters_of(names: tuple[str, ...]) -> dict[str, Any]:
    """The OpenAPI parameters of filters, which FastAPI can't derive."""
    return {"parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]}


def _filters(request: Request, known: tuple[str, ...]) -> Mapping[str, str]:
    return {name: value for name, value in request.query_params.items() if name not in known}


def _time(text: str) -> int | None:
    from access.ledger.reports import read_time

    return read_time(text, time.time()) if text else None
