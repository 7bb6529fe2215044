"""Keys, apps, teams and organisations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.administration import KINDS, KeyView, Kind, PartyView
from gateway.admin.service import Actor

if TYPE_CHECKING:
    from gateway.admin.service import AdminService


class NewKey(BaseModel):
    """A key to be made. The lists narrow what its app may do."""

    model_config = ConfigDict(extra="forbid")
    app: str
    name: str = ""
    expires: str = Field(default="", description="A time, or how long from now: 90d, 12h.")
    models: list[str] | None = None
    pipelines: list[str] | None = None
    sources: list[str] | None = None
    surfaces: list[str] | None = None
    networks: list[str] | None = None


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid")
    overlap: str = Field(default="24h", description="How long the old key goes on; 0 ends it now.")
    expires: str = Field(default="", description="A time, or how long from now; without it as the old key.")


class NewParty(BaseModel):
    """An organisation, team or app to be made; `options` is what the configuration file would say of it."""

    model_config = ConfigDict(extra="forbid")
    name: str
    options: dict[str, Any] = {}


class Options(BaseModel):
    """What the configuration file would say of it."""

    model_config = ConfigDict(extra="forbid")
    options: dict[str, Any]


@dataclass(frozen=True)
class CreatedKey(KeyView):
    """A key that was just made. `key` is told this once and kept nowhere."""

    key: str


def callers(plane: AdminService) -> APIRouter:
    """`/keys`, `/organisations`, `/teams`, `/apps`."""
    router = APIRouter()
    _keys(router, plane)
    for kind in KINDS:
        _parties(router, plane, kind)
    return router


def _keys(router: APIRouter, plane: AdminService) -> None:
    reads, writes = Depends(plane.needs("viewer")), Depends(plane.needs("admin"))

    @router.get("/keys", dependencies=[reads], tags=["keys"])
    async def list_keys(app: str = "") -> list[KeyView]:
        """Keys that were made while it ran, the newest first."""
        return await plane.administration().keys(app)

    @router.post("/keys", status_code=201, tags=["keys"])
    async def create_key(asked: NewKey, actor: Actor = writes) -> CreatedKey:
        """Makes a key. It is in this answer and nowhere else."""
        options = asked.model_dump(
            include={"models", "pipelines", "sources", "surfaces", "networks"}, exclude_none=True
        )
        made = await plane.administration().create_key(actor.name, asked.app, asked.name, asked.expires, options)
        return _made(*made)

    @router.post("/keys/{identity}/rotate", status_code=201, tags=["keys"])
    async def rotate_key(identity: str, asked: Rotation | None = None, actor: Actor = writes) -> CreatedKey:
        """A new key in the place of one that goes on for a while."""
        asked = asked or Rotation()
        return _made(*await plane.administration().rotate_key(actor.name, identity, asked.overlap, asked.expires))

    @router.delete("/keys/{identity}", status_code=204, tags=["keys"])
    async def revoke_key(identity: str, actor: Actor = writes) -> None:
        """Every replica refuses it within a second."""
        await plane.administration().revoke_key(actor.name, identity)


def _made(view: KeyView, key: str) -> CreatedKey:
    return CreatedKey(**asdict(view), key=key)


def _parties(router: APIRouter, plane: AdminService, kind: Kind) -> None:
    reads, writes = Depends(plane.needs("viewer")), Depends(plane.needs("admin"))
    path = f"/{kind}s"
    tags: list[str | Enum] = [path[1:]]

    @router.get(path, dependencies=[reads], tags=tags, operation_id=f"list_{kind}s", summary=f"List {kind}s")
    async def list_parties() -> list[PartyView]:
        """Those of the configuration file and of the database."""
        return await plane.administration().parties(kind)

    @router.post(path, status_code=201, tags=tags, operation_id=f"create_{kind}", summary=f"Add to the {kind}s")
    async def create_party(asked: NewParty, actor: Actor = writes) -> PartyView:
        """Adds one to the database."""
        return await plane.administration().put_party(actor.name, kind, asked.name, asked.options, new=True)

    @router.get(
        path + "/{name}", dependencies=[reads], tags=tags, operation_id=f"get_{kind}", summary=f"One of the {kind}s"
    )
    async def get_party(name: str) -> PartyView:
        """One of them."""
        return await plane.administration().party(kind, name)

    @router.put(path + "/{name}", tags=tags, operation_id=f"change_{kind}", summary=f"Change one of the {kind}s")
    async def change_party(name: str, asked: Options, actor: Actor = writes) -> PartyView:
        """Puts other options in the place of all it had."""
        return await plane.administration().put_party(actor.name, kind, name, asked.options, new=False)

    @router.delete(
        path + "/{name}",
        status_code=204,
        tags=tags,
        operation_id=f"remove_{kind}",
        summary=f"Remove one of the {kind}s",
    )
    async def remove_party(name: str, actor: Actor = writes) -> None:
        """Takes it away; the keys of an app are revoked with it."""
        await plane.administration().remove_party(actor.name, kind, name)
