"""`/v1/sources`: the documents of a source, handed in, listed, searched and removed by apps that may."""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias
from urllib.parse import parse_qs

import msgspec

from contract.errors import InvalidRequest, NotAllowed, UnknownPath, WrongMethod
from gateway.surfaces.request import Whole, run_request
from gateway.surfaces.surface import PathPattern, Surface

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from contract.caller import Caller
    from contract.exchange import Exchange
    from contract.sources import Item
    from contract.unsettled import Unsettled
    from gateway.engine.runtime import Engine
    from gateway.surfaces.http import HttpCall
    from gateway.surfaces.surface import Endpoint, PathMatch, Route, SurfaceParts
    from rag.source import Source

MAX_DOCUMENTS = 1000
MAX_TOP = 100
_PATH = re.compile(r"/v1/sources/(?P<source>[^/]+)/(?P<what>documents|search)(?:/(?P<document>.+))?\Z", re.DOTALL)
_MAX_ID = 1000
MAX_LABELS = 32
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
Method: TypeAlias = Literal["GET", "POST", "DELETE"]


class UploadedDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A document as it comes: `text`, or `data` in base64 with a `media_type` or an id that ends like a file's name."""

    id: str
    text: str | None = None
    data: str | None = None
    media_type: str = ""
    title: str = ""
    labels: tuple[str, ...] = ()


class UploadBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/sources/{name}/documents`."""

    documents: list[UploadedDocument]


class SearchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /v1/sources/{name}/search`."""

    query: str
    top: int = 10


class DocumentSurface(Surface):
    """The endpoints below `/v1/sources`."""

    vendor = None
    meant: ClassVar[Mapping[str, str]] = {"sources": "/v1/sources/NAME/documents"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._errors = parts.vendors.first.errors

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (PathPattern("/v1/sources/{rest}", self._find, methods=(), parts={"rest": "(?s:.*)"}),)

    def _find(self, found: PathMatch) -> Endpoint:
        return partial(self._serve, found.method, found.path)

    async def _serve(self, method: str, path: str, call: HttpCall) -> None:
        """Answers one HTTP request."""
        match = _PATH.match(path)
        surface = f"{method} /v1/sources/{{name}}/{match['what'] if match else ''}"

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> Whole:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.shown(), exchange)
            if match is None:
                raise UnknownPath("There is no endpoint at this path below /v1/sources")
            source = _source(engine, caller, match["source"], match["what"])
            document = match["document"] or None
            body = await self._answer(call, exchange, engine, (method, match["what"]), source, document)
            exchange.status, exchange.outcome = 200, "ok"
            return Whole("application/json", msgspec.json.encode(body))

        await run_request(self._runtime, call, surface, self._errors, answer)

    async def _answer(
        self,
        call: HttpCall,
        exchange: Exchange,
        engine: Engine,
        asked: tuple[str, str],
        source: Source,
        document: str | None,
    ) -> object:
        caller = exchange.caller
        if caller is None:
            raise RuntimeError("identify comes before")
        if asked == ("POST", "documents") and document is None:
            data = await self._bodies.receive(call, exchange, engine.max_body)
            items = await self._bodies.read(exchange, data, _items)
            return await _hand_in(items, source, caller)
        if asked == ("POST", "search") and document is None:
            data = await self._bodies.receive(call, exchange, engine.max_body)
            return await _search(await self._bodies.read(exchange, data, _searched), source, caller)
        if asked == ("GET", "documents") and document is None:
            return await _list(call, source, caller)
        if asked == ("DELETE", "documents") and document is not None:
            known = len(document) <= _MAX_ID and _CONTROL.search(document) is None
            if not known or not await source.remove([document], caller.labels):
                raise UnknownPath(f"There is no document '{document[:200]}' in this source")
            return {"deleted": True, "id": document}
        allow = "POST" if asked[1] == "search" else "DELETE" if document is not None else "GET, HEAD, POST"
        raise WrongMethod("Documents take POST, GET and DELETE /{id}; search takes POST", allow=allow)


def _source(engine: Engine, caller: Caller, name: str, what: str) -> Source:
    """The source, if the caller may do that with it: one that it may not is as one that is not there."""
    source = engine.sources.get(name)
    if source is None or name not in caller.ingest:
        if what == "search" and source is not None:
            raise NotAllowed(f"This key may not use the source '{name}' by itself: list it under 'ingest' of the app")
        raise UnknownPath(
            f"There is no source '{name[:200]}' that this key may fill: list it under 'ingest' of the app"
        )
    return source


def _read(body: bytes, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body can't be read: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body can't be read: it is nested too deeply") from None


def _searched(body: bytes) -> SearchBody:
    asked: SearchBody = _read(body, SearchBody)
    return asked


def _items(body: bytes) -> list[Item]:
    """The documents of a body; their contents are read later, each by itself."""
    from contract.sources import Item
    from rag.ingest import MAX_ID_BYTES

    handed: UploadBody = _read(body, UploadBody)
    if len(handed.documents) > MAX_DOCUMENTS:
        raise InvalidRequest(f"At most {MAX_DOCUMENTS} documents at once", param="documents")
    items = []
    for place, each in enumerate(handed.documents):
        where = f"documents[{place}]"
        if not 0 < len(each.id) <= _MAX_ID or _CONTROL.search(each.id + each.title) is not None:
            words = f"1 to {_MAX_ID} letters, none of them a control character"
            raise InvalidRequest(f"'{where}.id' must have {words}, and so must the title", param=f"{where}.id")
        if len(each.id.encode()) > MAX_ID_BYTES:
            raise InvalidRequest(f"'{where}.id' must have at most {MAX_ID_BYTES:,} bytes in UTF-8", param=f"{where}.id")
        if len(each.labels) > MAX_LABELS:
            raise InvalidRequest(f"'{where}.labels' may have at most {MAX_LABELS} labels", param=f"{where}.labels")
        if any(_LABEL.fullmatch(label) is None for label in each.labels):
            words = "up to 64 letters, digits and _ . : -"
            raise InvalidRequest(f"'{where}.labels' must be made of {words}", param=f"{where}.labels")
        data, media_type = _content(each, where)
        items.append(Item(each.id, partial(_loaded, data, media_type), each.labels, each.title))
    return items


async def _hand_in(items: list[Item], source: Source, caller: Caller) -> object:
    if hidden := await source.hidden([each.id for each in items], caller.labels):
        place = next(place for place, each in enumerate(items) if each.id == hidden[0])
        raise UnknownPath(
            f"There is no document '{hidden[0][:200]}' that this key may replace: the id is taken by one that it may "
            "not see. Choose another id, or give the app the document's labels and its source's",
            param=f"documents[{place}].id",
        )
    report = await source.add(items, caller.labels, f"app {caller.app}")
    failed = [{"id": name, "reason": reason} for name, reason in report.failed]
    notes = [{"id": name, "note": note} for name, note in report.notes]
    return {
        "added": report.added,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "chunks": report.chunks,
        "failed": failed,
        "notes": notes,
    }


def _content(handed: UploadedDocument, where: str) -> tuple[bytes, str]:
    if (handed.text is None) == (handed.data is None):
        raise InvalidRequest(f"'{where}' needs either 'text' or 'data'", param=where)
    if handed.text is not None:
        return handed.text.encode("utf-8", "replace"), handed.media_type or "text/markdown"
    try:
        return base64.b64decode(handed.data or "", validate=True), handed.media_type
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"'{where}.data' is not base64", param=f"{where}.data") from None


def _loaded(data: bytes, media_type: str) -> tuple[bytes, str]:
    return data, media_type


async def _search(asked: SearchBody, source: Source, caller: Caller) -> object:
    if not 1 <= asked.top <= MAX_TOP:
        raise InvalidRequest(f"'top' must be 1 to {MAX_TOP}", param="top")
    found = await source.explain(asked.query, asked.top, caller.labels, caller)
    return {
        "data": [
            {
                "document": each.passage.source,
                "place": each.passage.place,
                "text": each.passage.text,
                "score": round(each.passage.score, 4),
                "words": round(each.words, 4),
                "cosine": round(each.cosine, 4),
                "id": each.passage.id,
            }
            for each in found
        ]
    }


async def _list(call: HttpCall, source: Source, caller: Caller) -> object:
    query = parse_qs(call.query.decode("latin-1"))
    limit = query.get("limit", ["100"])[0]
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10) or not 1 <= int(limit) <= MAX_DOCUMENTS:
        raise InvalidRequest(f"'limit' must be 1 to {MAX_DOCUMENTS}", param="limit")
    after = query.get("after", [""])[0]
    if _CONTROL.search(after) is not None:
        raise InvalidRequest("'after' must be the id of a document, which has no control characters", param="after")
    found = await source.documents(after, int(limit) + 1, caller.labels)
    page = found[: int(limit)]
    return {
        "data": [
            {"id": each.id, "title": each.title, "labels": each.labels, "chunks": each.chunks, "updated": each.updated}
            for each in page
        ],
        "has_more": len(found) > len(page),
        "last_id": page[-1].id if page else None,
    }
