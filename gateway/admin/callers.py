"""Routes for keys, apps, teams and organisations."""

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
    """A key to create. The lists restrict what its app may do."""

    model_config = ConfigDict(extra="forbid")
    app: str
    name: str = ""
    expires: str = Field(default="", description="A time, or a duration from now: 90d, 12h.")
    models: list[str] | None = None
    pipelines: list[str] | None = None
    sources: list[str] | None = None
    surfaces: list[str] | None = None
    networks: list[str] | None = None


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid")
    overlap: str = Field(default="24h", description="How long the old key stays valid; 0 revokes it now.")
    expires: str = Field(default="", description="A time, or a duration from now; default: the old key's expiry.")


class NewParty(BaseModel):
    """An organisation, team or app to create; `options` as in the configuration file."""

    model_config = ConfigDict(extra="forbid")
    name: str
    options: dict[str, Any] = {}


class Options(BaseModel):
    """The options, as in the configuration file."""

    model_config = ConfigDict(extra="forbid")
    options: dict[str, Any]


@dataclass(frozen=True)
class CreatedKey(KeyView):
    """A key that was just created. `key` is returned only once and not stored."""

    key: str


def caller_routes(service: AdminService) -> APIRouter:
    """`/keys`, `/organisations`, `/teams`, `/apps`."""
    router = APIRouter()
    _keys(router, service)
    for kind in KINDS:
        _parties(router, service, kind)
    return router


def _keys(router: APIRouter, service: AdminService) -> None:
    reads, writes = Depends(service.needs("viewer")), Depends(service.needs("admin"))

    @router.get("/keys", dependencies=[reads], tags=["keys"])
    async def list_keys(app: str = "") -> list[KeyView]:
        """Lists the keys in the database, the newest first."""
        return await service.administration().keys(app)

    @router.post("/keys", status_code=201, tags=["keys"])
    async def create_key(body: NewKey, actor: Actor = writes) -> CreatedKey:
        """Creates a key. Only this response contains it."""
        options = body.model_dump(include={"models", "pipelines", "sources", "surfaces", "networks"}, exclude_none=True)
        created = await service.administration().create_key(actor.name, body.app, body.name, body.expires, options)
        return _created_key(*created)

    @router.post("/keys/{identity}/rotate", status_code=201, tags=["keys"])
    async def rotate_key(identity: str, body: Rotation | None = None, actor: Actor = writes) -> CreatedKey:
        """Replaces a key with a new one; the old key stays valid for a while."""
        body = body or Rotation()
        rotated = await service.administration().rotate_key(actor.name, identity, body.overlap, body.expires)
        return _created_key(*rotated)

    @router.delete("/keys/{identity}", status_code=204, tags=["keys"])
    async def revoke_key(identity: str, actor: Actor = writes) -> None:
        """Revokes a key. Every replica refuses it within a second."""
        await service.administration().revoke_key(actor.name, identity)


def _created_key(view: KeyView, key: str) -> CreatedKey:
    return CreatedKey(**asdict(view), key=key)


def _parties(router: APIRouter, service: AdminService, kind: Kind) -> None:
    reads, writes = Depends(service.needs("viewer")), Depends(service.needs("admin"))
    path = f"/{kind}s"
    tags: list[str | Enum] = [path[1:]]

    @router.get(path, dependencies=[reads], tags=tags, operation_id=f"list_{kind}s", summary=f"List {kind}s")
    async def list_parties() -> list[PartyView]:
        """Lists the entries in the configuration file and in the database."""
        return await service.administration().parties(kind)

    @router.post(path, status_code=201, tags=tags, operation_id=f"create_{kind}", summary=f"Create {kind}")
    async def create_party(body: NewParty, actor: Actor = writes) -> PartyView:
        """Adds an entry to the database."""
        return await service.administration().put_party(actor.name, kind, body.name, body.options, new=True)

    @router.get(path + "/{name}", dependencies=[reads], tags=tags, operation_id=f"get_{kind}", summary=f"Get {kind}")
    async def get_party(name: str) -> PartyView:
        """Returns one entry."""
        return await service.administration().party(kind, name)

    @router.put(path + "/{name}", tags=tags, operation_id=f"change_{kind}", summary=f"Change {kind}")
    async def change_party(name: str, body: Options, actor: Actor = writes) -> PartyView:
        """Replaces all options of an entry."""
        return await service.administration().put_party(actor.name, kind, name, body.options, new=False)

    @router.delete(
        path + "/{name}",
        status_code=204,
        tags=tags,
        operation_id=f"remove_{kind}",
        summary=f"Remove {kind}",
    )
    async def remove_party(name: str, actor: Actor = writes) -> None:
        """Removes an entry, and revokes the keys of an app."""
        await service.administration().remove_party(actor.name, kind, name)
