"""`/v1/sources`: apps with permission add, list, search and remove a source's documents."""

from __future__ import annotations

import base64
import binascii
import re
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias
from urllib.parse import parse_qs

import msgspec

from contract.errors import InvalidRequest, NotAllowed, UnknownPath, WrongMethod
from gateway.surfaces.request import BufferedResponse, run_request
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
    """An uploaded document: `text`, or base64 `data` with a `media_type` or an id that ends in a file extension."""

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
    """The endpoints under `/v1/sources`."""

    vendor = None
    similar_paths: ClassVar[Mapping[str, str]] = {"sources": "/v1/sources/NAME/documents"}

    def __init__(self, parts: SurfaceParts) -> None:
        self._runtime = parts.runtime
        self._bodies = parts.bodies
        self._errors = parts.vendors.first.errors

    def routes(self) -> Sequence[Route]:
        """See `Surface.routes`."""
        return (PathPattern("/v1/sources/{rest}", self._find, methods=(), parts={"rest": "(?s:.*)"}),)

    def _find(self, match: PathMatch) -> Endpoint:
        return partial(self._serve, match.method, match.path)

    async def _serve(self, method: str, path: str, call: HttpCall) -> None:
        """Answers one HTTP request."""
        match = _PATH.match(path)
        surface = f"{method} /v1/sources/{{name}}/{match['what'] if match else ''}"

        async def answer(call: HttpCall, exchange: Exchange, engine: Engine, _: Unsettled) -> BufferedResponse:
            exchange.config = engine.digest
            caller = await engine.pipeline.identify(call.credentials(), exchange)
            if match is None:
                raise UnknownPath("There is no endpoint at this path under /v1/sources")
            source = _source(engine, caller, match["source"], match["what"])
            document = match["document"] or None
            body = await self._answer(call, exchange, engine, (method, match["what"]), source, document)
            exchange.status, exchange.outcome = 200, "ok"
            return BufferedResponse("application/json", msgspec.json.encode(body))

        await run_request(self._runtime, call, surface, self._errors, answer)

    async def _answer(
        self,
        call: HttpCall,
        exchange: Exchange,
        engine: Engine,
        operation: tuple[str, str],
        source: Source,
        document: str | None,
    ) -> object:
        caller = exchange.caller
        if caller is None:
            raise RuntimeError("the caller must be identified first")
        if operation == ("POST", "documents") and document is None:
            data = await self._bodies.receive(call, exchange, engine.max_body)
            items = await self._bodies.read(exchange, data, _items)
            return await _add(items, source, caller)
        if operation == ("POST", "search") and document is None:
            data = await self._bodies.receive(call, exchange, engine.max_body)
            return await _search(await self._bodies.read(exchange, data, _read_search), source, caller)
        if operation == ("GET", "documents") and document is None:
            return await _list(call, source, caller)
        if operation == ("DELETE", "documents") and document is not None:
            known = len(document) <= _MAX_ID and _CONTROL.search(document) is None
            if not known or not await source.remove([document], caller.labels):
                raise UnknownPath(f"There is no document '{document[:200]}' in this source")
            return {"deleted": True, "id": document}
        allow = "POST" if operation[1] == "search" else "DELETE" if document is not None else "GET, HEAD, POST"
        raise WrongMethod("Documents support POST, GET and DELETE /{id}; search supports POST", allow=allow)


def _source(engine: Engine, caller: Caller, name: str, what: str) -> Source:
    """The source, if the caller may use it. A source that it may not fill is reported as missing."""
    source = engine.sources.get(name)
    if source is None or name not in caller.ingest:
        if what == "search" and source is not None:
            raise NotAllowed(f"This key may not search the source '{name}': add it to 'ingest' of the app")
        raise UnknownPath(f"There is no source '{name[:200]}' that this key may fill: add it to 'ingest' of the app")
    return source


def _read(body: bytes, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid: {error}") from None
    except RecursionError:
        raise InvalidRequest("The body is not valid: it is nested too deeply") from None


def _read_search(body: bytes) -> SearchBody:
    search: SearchBody = _read(body, SearchBody)
    return search


def _items(body: bytes) -> list[Item]:
    """The documents of a body. Their contents are parsed later, one at a time."""
    from contract.sources import Item
    from rag.ingest import MAX_ID_BYTES

    upload: UploadBody = _read(body, UploadBody)
    if len(upload.documents) > MAX_DOCUMENTS:
        raise InvalidRequest(f"At most {MAX_DOCUMENTS} documents at once", param="documents")
    items = []
    for place, each in enumerate(upload.documents):
        where = f"documents[{place}]"
        if not 0 < len(each.id) <= _MAX_ID or _CONTROL.search(each.id + each.title) is not None:
            raise InvalidRequest(
                f"'{where}.id' must have 1 to {_MAX_ID} characters. The id and the title must not contain control "
                "characters",
                param=f"{where}.id",
            )
        if len(each.id.encode()) > MAX_ID_BYTES:
            raise InvalidRequest(f"'{where}.id' must have at most {MAX_ID_BYTES:,} bytes in UTF-8", param=f"{where}.id")
        if len(each.labels) > MAX_LABELS:
            raise InvalidRequest(f"'{where}.labels' may have at most {MAX_LABELS} labels", param=f"{where}.labels")
        if any(_LABEL.fullmatch(label) is None for label in each.labels):
            raise InvalidRequest(
                f"'{where}.labels' must each have up to 64 letters, digits and _ . : -", param=f"{where}.labels"
            )
        data, media_type = _content(each, where)
        items.append(Item(each.id, partial(_loaded, data, media_type), each.labels, each.title))
    return items


async def _add(items: list[Item], source: Source, caller: Caller) -> object:
    if hidden := await source.hidden([each.id for each in items], caller.labels):
        place = next(place for place, each in enumerate(items) if each.id == hidden[0])
        raise UnknownPath(
            f"This key may not replace the document '{hidden[0][:200]}': the id belongs to a document that the key may "
            "not read. Use another id, or add the labels of the document and of its source to the app",
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


def _content(upload: UploadedDocument, where: str) -> tuple[bytes, str]:
    if (upload.text is None) == (upload.data is None):
        raise InvalidRequest(f"'{where}' needs either 'text' or 'data'", param=where)
    if upload.text is not None:
        return upload.text.encode("utf-8", "replace"), upload.media_type or "text/markdown"
    try:
        return base64.b64decode(upload.data or "", validate=True), upload.media_type
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"'{where}.data' is not base64", param=f"{where}.data") from None


def _loaded(data: bytes, media_type: str) -> tuple[bytes, str]:
    return data, media_type


async def _search(search: SearchBody, source: Source, caller: Caller) -> object:
    if not 1 <= search.top <= MAX_TOP:
        raise InvalidRequest(f"'top' must be 1 to {MAX_TOP}", param="top")
    matches = await source.explain(search.query, search.top, caller.labels, caller)
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
            for each in matches
        ]
    }


async def _list(call: HttpCall, source: Source, caller: Caller) -> object:
    query = parse_qs(call.query.decode("latin-1"))
    limit = query.get("limit", ["100"])[0]
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10) or not 1 <= int(limit) <= MAX_DOCUMENTS:
        raise InvalidRequest(f"'limit' must be 1 to {MAX_DOCUMENTS}", param="limit")
    after = query.get("after", [""])[0]
    if _CONTROL.search(after) is not None:
        raise InvalidRequest("'after' must be the id of a document, without control characters", param="after")
    documents = await source.documents(after, int(limit) + 1, caller.labels)
    page = documents[: int(limit)]
    return {
        "data": [
            {"id": each.id, "title": each.title, "labels": each.labels, "chunks": each.chunks, "updated": each.updated}
            for each in page
        ],
        "has_more": len(documents) > len(page),
        "last_id": page[-1].id if page else None,
    }
