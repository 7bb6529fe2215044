"""Routes to purge caches and to reload the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from contract.units import parse_duration
from gateway.admin.service import Actor

if TYPE_CHECKING:
    from gateway.admin.service import AdminService


def operations_routes(service: AdminService) -> APIRouter:
    """`/cache`, `/reload`."""
    router = APIRouter()
    owner = Depends(service.needs("owner"))

    @router.delete("/cache", tags=["operations"])
    async def purge(
        actor: Actor = owner,
        app: Annotated[str, Query(description="Only this app's entries.")] = "",
        model: Annotated[str, Query(description="Only this model's entries.")] = "",
        older_than: Annotated[str, Query(description="Only entries older than this, such as 1h.")] = "",
    ) -> dict[str, Any]:
        """Removes entries from all caches."""
        before = None
        if older_than:
            try:
                before = time.time() - parse_duration(older_than)
            except ValueError:
                raise HTTPException(400, "older_than must be a duration, such as 1h") from None
        removed = await _purge(service, app, model, before)
        detail = {"app": app, "model": model, "older_than": older_than, "removed": removed}
        await service.record(actor, "cache.purge", app or "*", detail)
        return {"removed": removed}

    @router.post("/reload", tags=["operations"])
    async def reload(actor: Actor = owner) -> dict[str, Any]:
        """Reloads the configuration file. An invalid file changes nothing; the log contains the reason."""
        done = await service.reload()
        await service.record(actor, "config.reload", service.runtime.engine.digest, {"done": done})
        if not done:
            raise HTTPException(409, "The configuration was rejected and the old one stays active: see the log")
        return {"config": service.runtime.engine.digest}

    return router


async def _purge(service: AdminService, app: str, model: str, before: float | None) -> int:
    from contract.tiers import Purge

    owners = [app] if app else ["", "anonymous", *service.runtime.resources.accounts.apps()]
    removed = 0
    with service.runtime.borrow() as engine:
        for cache in engine.caches.values():
            for owner in owners:
                try:
                    removed += await cache.purge(Purge(owner, model, before))
                except Exception as error:
                    problem = f"A cache is unreachable and may still hold entries ({type(error).__name__}); try again"
                    raise HTTPException(503, problem) from None
    return removed
