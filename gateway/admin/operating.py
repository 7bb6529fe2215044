"""Purging caches, and reloading the configuration."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query

from contract.units import parse_duration
from gateway.admin.service import Actor

if TYPE_CHECKING:
    from gateway.admin.service import AdminService


def operating(plane: AdminService) -> APIRouter:
    """`/cache`, `/reload`."""
    router = APIRouter()
    owner = Depends(plane.needs("owner"))

    @router.delete("/cache", tags=["operations"])
    async def purge(
        actor: Actor = owner,
        app: Annotated[str, Query(description="Only this app's answers.")] = "",
        model: Annotated[str, Query(description="Only this model's.")] = "",
        older_than: Annotated[str, Query(description="Only those that are older, such as 1h.")] = "",
    ) -> dict[str, Any]:
        """Removes answers from all caches."""
        before = None
        if older_than:
            try:
                before = time.time() - parse_duration(older_than)
            except ValueError:
                raise HTTPException(400, "older_than is a duration, such as 1h") from None
        removed = await _purge(plane, app, model, before)
        detail = {"app": app, "model": model, "older_than": older_than, "removed": removed}
        await plane.record(actor, "cache.purge", app or "*", detail)
        return {"removed": removed}

    @router.post("/reload", tags=["operations"])
    async def reload(actor: Actor = owner) -> dict[str, Any]:
        """Reads the configuration file again; a wrong one changes nothing, and the log says why."""
        done = await plane.reload()
        await plane.record(actor, "config.reload", plane.runtime.engine.digest, {"done": done})
        if not done:
            raise HTTPException(409, "The configuration was not taken, the old one serves on; the log says why")
        return {"config": plane.runtime.engine.digest}

    return router


async def _purge(plane: AdminService, app: str, model: str, before: float | None) -> int:
    from contract.tiers import Purge

    owners = [app] if app else ["", "anonymous", *plane.runtime.resources.accounts.apps()]
    removed = 0
    with plane.runtime.borrow() as engine:
        for cache in engine.caches.values():
            for owner in owners:
                try:
                    removed += await cache.purge(Purge(owner, model, before))
                except Exception as error:
                    problem = f"A cache can't be reached, and may still hold answers ({type(error).__name__})"
                    raise HTTPException(503, problem) from None
    return removed
