"""Which path means which endpoint. One table for the fixed paths, one pattern for Gemini's, which hold the model."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote

from contract.dialect import InboundCall
from contract.errors import NotAllowed, RequestError, UnknownPath, WrongMethod
from gateway.dialects.anthropic import AnthropicMessages
from gateway.dialects.anthropic.tokens import count_tokens_reply, read_count_tokens
from gateway.dialects.gemini_generate import GeminiArray, GeminiBatchEmbeddings, GeminiGenerate, GeminiSingleEmbedding
from gateway.dialects.gemini_generate.tokens import count_tokens_reply as gemini_count_reply
from gateway.dialects.gemini_generate.tokens import read_count_tokens as read_gemini_count
from gateway.dialects.openai_chat import OpenAIChat
from gateway.dialects.openai_embeddings import OpenAIEmbeddings
from gateway.surfaces.bodies import BodyReader
from gateway.surfaces.cache import CacheSurface
from gateway.surfaces.chat import ChatSurface
from gateway.surfaces.documents import DocumentSurface
from gateway.surfaces.embeddings import EmbeddingSurface
from gateway.surfaces.http import HttpCall
from gateway.surfaces.models import ModelSurface
from gateway.surfaces.nearby import explain, served_as
from gateway.surfaces.origins import METHODS
from gateway.surfaces.request import WritesErrors, run_request
from gateway.surfaces.tokens import TokenSurface

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.engine.runtime import Runtime
    from gateway.surfaces.origins import Origins

    Endpoint: TypeAlias = Callable[[HttpCall], Awaitable[None]]

_GEMINI = re.compile(r"(?:/gemini)?/(?:v1|v1beta|v1alpha)/models/(?P<model>.+):(?P<verb>[A-Za-z]+)\Z")
_MODELS = re.compile(
    r"(?:/(?P<vendor>openai|anthropic|gemini))?/(?P<version>v1|v1beta|v1alpha)/models(?:/(?P<name>.+))?\Z"
)
# As Azure's SDK and its own REST API name a model: by its deployment, which the body need not repeat.
_AZURE = re.compile(r"/openai/deployments/(?P<model>.+)/(?P<what>chat/completions|embeddings)\Z")
_OURS = re.compile(r"/(?:openai|anthropic|gemini|v1|v1beta|v1alpha)(?:/|\Z)")


# Served by others, under these names only.
_OTHERS = frozenset({"admin", "health", "livez", "readyz", "metrics"})


class Paths:
    """Finds the endpoint of a request among those that speak to models."""

    def __init__(self, runtime: Runtime, origins: Origins | None = None) -> None:
        """`origins`: whose web pages may call; None for nobody's."""
        self._runtime = runtime
        self._origins = origins
        self._openai = OpenAIChat()
        self._anthropic = AnthropicMessages()
        self._gemini = GeminiGenerate()
        self._gemini_array = GeminiArray()
        bodies = BodyReader()
        chat = ChatSurface(runtime, self._openai, "POST /v1/chat/completions", bodies)
        messages = ChatSurface(runtime, self._anthropic, "POST /v1/messages", bodies)
        count = TokenSurface(runtime, "POST /v1/messages/count_tokens", self._anthropic, count_tokens_reply, bodies)
        embeddings = EmbeddingSurface(runtime, "POST /v1/embeddings", bodies)
        self.posts: dict[str, Endpoint] = {}
        self._chat, self._embeddings = chat, embeddings
        self._mount("openai", "/v1/chat/completions", partial(chat.serve, inbound=InboundCall()))
        self._mount("openai", "/v1/embeddings", partial(embeddings.serve, wire=OpenAIEmbeddings()))
        self._mount("anthropic", "/v1/messages", partial(messages.serve, inbound=InboundCall()))
        self._mount("anthropic", "/v1/messages/count_tokens", partial(count.serve, read=read_count_tokens))
        self._documents = DocumentSurface(runtime, self._openai, bodies)
        self._cache = CacheSurface(runtime, self._openai)
        name = "POST /v1beta/models/{model}:"
        self._models = ModelSurface(runtime, "GET /v1/models")
        self._generate = ChatSurface(runtime, self._gemini, name + "generateContent", bodies)
        self._stream = ChatSurface(runtime, self._gemini, name + "streamGenerateContent", bodies)
        self._stream_array = ChatSurface(runtime, self._gemini_array, name + "streamGenerateContent", bodies)
        self._gemini_count = TokenSurface(runtime, name + "countTokens", self._gemini, gemini_count_reply, bodies)
        self._gemini_embed = EmbeddingSurface(runtime, name + "embedContent", bodies)

    def _mount(self, vendor: str, path: str, endpoint: Endpoint) -> None:
        self.posts[path] = endpoint
        self.posts[f"/{vendor}{path}"] = endpoint

    def find(self, method: str, path: str) -> Endpoint | None:
        """The endpoint; one that answers 404 or 405 for a path near ours; None for a path that is none of ours."""
        if method == "POST":
            endpoint = self.posts.get(path)
            if endpoint is not None:
                return endpoint
        if method == "OPTIONS" and (path == "*" or _OURS.match(path) or served_as(path)):
            return partial(self._options, path)
        return self._find(method, path)

    def _find(self, method: str, path: str) -> Endpoint | None:
        if method == "HEAD":
            # The server leaves out the body.
            method = "GET"
        ours = _OURS.match(path) is not None
        if ours and path.startswith("/v1/sources/"):
            return partial(self._documents.serve, method=method, path=path)
        if ours and (path == "/v1/cache" or path.startswith("/v1/cache/")):
            return partial(self._cache.serve, method=method, path=path)
        if path[1:].partition("/")[0] in _OTHERS:
            return None
        if ours and not path.endswith("/") and (endpoint := self._find_by_pattern(method, path)) is not None:
            return endpoint
        meant = served_as(path)
        if meant is not None and meant != path:
            endpoint = self.posts.get(meant) if method == "POST" else None
            endpoint = endpoint or self._find_by_pattern(method, meant)
            if endpoint is not None:
                return partial(_under_its_name, endpoint, meant)
        said, vendor = explain(path)
        if not ours and not said:
            return None
        return self._refuse(path, UnknownPath(said or f"There is no endpoint at {path[:200]}"), vendor)

    def _find_by_pattern(self, method: str, path: str) -> Endpoint | None:
        gemini = _GEMINI.match(path)
        if gemini is not None:
            endpoint = self._find_gemini(unquote(gemini["model"]), gemini["verb"])
            if endpoint is not None:
                return endpoint if method == "POST" else self._wrong_method(path, "POST")
        azure = _AZURE.match(path)
        if azure is not None:
            return self._find_azure(unquote(azure["model"]), azure["what"], method, path)
        models = _MODELS.match(path)
        if models is not None and (method == "GET" or gemini is None):
            if method != "GET":
                return self._wrong_method(path, "GET, HEAD")
            return partial(self._list_models, models)
        return self._wrong_method(path, "POST") if path in self.posts else None

    def _find_azure(self, model: str, what: str, method: str, path: str) -> Endpoint:
        if method != "POST":
            return self._wrong_method(path, "POST")
        if what == "embeddings":
            return partial(self._embeddings.serve, wire=OpenAIEmbeddings(model))
        return partial(self._chat.serve, inbound=InboundCall(model))

    async def _options(self, path: str, call: HttpCall) -> None:
        """Answers what a browser asks before a call: without a key, and without telling what there is."""
        origin = call.headers.get(b"origin")
        if origin is not None and b"access-control-request-method" in call.headers:
            if self._origins is None or not self._origins.allows(origin):
                error = NotAllowed("Pages of this origin may not call from a browser: server.origins does not list it")
                await self._refuse(path, error)(call)
                return
            await call.begin(204, self._origins.preflight_headers(call.headers))
        else:
            await call.begin(204, [(b"allow", METHODS)])
        await call.end(b"")

    def _find_gemini(self, model: str, verb: str) -> Endpoint | None:
        if verb == "generateContent":
            return partial(self._generate.serve, inbound=InboundCall(model))
        if verb == "streamGenerateContent":
            return partial(self._stream_gemini, model)
        if verb == "countTokens":
            call = InboundCall(model)
            return partial(self._gemini_count.serve, read=lambda body: read_gemini_count(body, call))
        if verb == "embedContent":
            return partial(self._gemini_embed.serve, wire=GeminiSingleEmbedding(model))
        if verb == "batchEmbedContents":
            return partial(self._gemini_embed.serve, wire=GeminiBatchEmbeddings(model))
        return None

    async def _stream_gemini(self, model: str, call: HttpCall) -> None:
        """Google's server streams a JSON array unless events are asked for."""
        surface = self._stream if b"alt=sse" in call.query else self._stream_array
        await surface.serve(call, InboundCall(model, stream=True))

    async def _list_models(self, found: re.Match[str], call: HttpCall) -> None:
        vendor = found["vendor"] or self._vendor(found["version"], call)
        name = unquote(found["name"]) if found["name"] else None
        await self._models.serve(call, self._dialect_of(vendor), vendor, name)

    @staticmethod
    def _vendor(version: str, call: HttpCall) -> str:
        if version != "v1" or b"x-goog-api-key" in call.headers:
            return "gemini"
        return "anthropic" if b"anthropic-version" in call.headers else "openai"

    def _dialect_of(self, vendor: str) -> WritesErrors:
        if vendor == "gemini":
            return self._gemini
        return self._anthropic if vendor == "anthropic" else self._openai

    def _wrong_method(self, path: str, allow: str) -> Endpoint:
        return self._refuse(path, WrongMethod(f"{path[:200]} takes {allow}", allow=allow))

    def _refuse(self, path: str, error: RequestError, vendor: str = "") -> Endpoint:
        """Answers with `error` in the shape of `vendor`, or of the one whose path it is."""
        if not vendor:
            vendor = path.split("/", 2)[1] if path.startswith("/") else ""
            if vendor in ("v1beta", "v1alpha"):
                vendor = "gemini"
            if path.startswith("/v1/messages"):
                vendor = "anthropic"

        async def refuse(call: HttpCall) -> None:
            async def answer(*_: object) -> None:
                raise error

            known, told = vendor, self._vendor("v1", call)
            # Below /v1 stand paths of all three (`files`): then the headers of a vendor's SDK tell.
            if known not in ("openai", "anthropic", "gemini") or (path.startswith("/v1/") and told != "openai"):
                known = told
            await run_request(self._runtime, call, "unknown path", self._dialect_of(known), answer)

        return refuse


async def _under_its_name(endpoint: Endpoint, path: str, call: HttpCall) -> None:
    """Serves a path that was spelled otherwise: what may be called is decided by the name that we know."""
    call.path = path
    await endpoint(call)
