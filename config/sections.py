"""The other sections: `server`, `pipelines`, `observe`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationInfo, model_validator

from config.document import Path as FilePath
from config.findings import Substituted, wrong
from config.listening import Networks, check_listen, split_listen
from config.origins import Origins
from config.providers import Headers
from config.secret import Secret, at_least
from config.sources import folder_of
from config.struct import Flag, HttpUrl, Ref, Struct, Whole
from config.units import Duration, Percentage, Size, Tokens

LEAST_PEPPER = 32


def _data(value: object, info: ValidationInfo) -> object:
    return folder_of(value, info) if value is not None else None


def _redis(value: object) -> object:
    if value in ("", None):
        return None
    if isinstance(value, str) and re.match(r"(?:rediss?|unix)://.", value) is None:
        raise wrong("this is not a Redis URL", "write redis://host:6379/0, rediss://... or unix:///path")
    return value


def _is_postgres(value: str) -> bool:
    if re.match(r"postgres(?:ql)?://.", value) is None:
        return False
    # A URL with several hosts has a port after each host.
    netloc = value.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return all(re.fullmatch(r"(?:\[[^]]+\]|[^:\[\]]*)(?::[0-9]{1,5})?", each) for each in netloc.split(","))


def _database(value: object, info: ValidationInfo) -> object:
    if value in ("", None):
        return None
    if isinstance(value, str) and value.startswith("sqlite:///"):
        place = folder_of(value.removeprefix("sqlite:///"), info)
        url = f"sqlite:///{place}"
        return Substituted(url, value.reference) if isinstance(value, Substituted) else url
    if isinstance(value, str) and not _is_postgres(value):
        raise wrong("this is not a database URL", "write sqlite:///var/gatehouse.db or postgresql://user@host/name")
    return value


class ServerConfig(Struct):
    """Where Gatehouse listens, and how it starts, reloads and stops."""

    renamed: ClassVar[Mapping[str, str]] = {
        "proxies": "trusted_proxies",
        "origins": "cors_origins",
        "head_timeout": "header_timeout",
        "slowest": "min_rate",
        "connections": "max_connections",
        "connections_per_address": "max_connections_per_address",
        "notice": "shutdown_delay",
        "keys_without_database": "key_cache_ttl",
    }

    listen: Annotated[str, AfterValidator(check_listen)] = Field(
        default="127.0.0.1:8080", description="Host and port; port 0 picks a free port."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Networks of load balancers whose `x-forwarded-for` is trusted; empty means none.",
        examples=["[10.0.0.0/8]"],
    )
    max_body: Size = Field(default=32_000_000, description="The largest request body; a larger one gets 413.")
    cors_origins: Origins | None = Field(
        default=None,
        description="Origins of web pages that may call from a browser (CORS): `*`, `null`, exact origins, and origins "
        "with a star for subdomains or for the port. By default pages of this machine (`http://localhost:*`, "
        "`http://127.0.0.1:*`) if only this machine can reach `listen`, else none; `[]` means none. Keys are required "
        "as for other calls.",
        examples=["[https://chat.example.com, https://*.example.org, 'http://localhost:*']"],
    )
    header_timeout: Duration = Field(
        default=20.0,
        description="Time limit for receiving the headers of a request; then 408, or the connection is closed.",
    )
    body_timeout: Duration = Field(
        default=20.0, description="Time for receiving a body before `min_rate` applies; a slower caller gets 408."
    )
    write_timeout: Duration = Field(
        default=30.0, description="How long to wait for a caller that reads slower than `min_rate`."
    )
    idle_timeout: Duration = Field(default=75.0, description="How long an idle connection stays open.")
    min_rate: Size = Field(
        default=1000, description="The lowest rate, in bytes a second, at which a caller may send or read."
    )
    max_connections: Whole = Field(
        default=10_000,
        ge=10,
        description="The most open connections of each worker; fewer if the limit of open files is low. Beyond it, "
        "the longest idle connections are closed; if none is idle, new ones get 503.",
    )
    max_connections_per_address: Whole | None = Field(
        default=None,
        ge=1,
        description="The most open connections from one address outside `trusted_proxies`; by default half of "
        "`max_connections`.",
    )
    drain: Duration = Field(default=30.0, description="How long requests in flight may take to finish after SIGTERM.")
    shutdown_delay: Duration | None = Field(
        default=None,
        description="How long the gateway still accepts requests after SIGTERM while `/readyz` returns 503, so that "
        "load balancers remove it first.",
        examples=["5s"],
    )
    watch: Flag = Field(
        default=True,
        description="Reload when this file changes, or a file that a `${file:...}` in it names. SIGHUP always reloads.",
    )
    keepalive: Duration = Field(default=15.0, description="Time between comments on a silent stream.")
    data: Annotated[Path | None, BeforeValidator(_data), PlainSerializer(str)] = Field(
        default=None, description="The folder for data on disk; by default one in the user's cache folder."
    )
    redis: Annotated[Secret | None, BeforeValidator(_redis)] = Field(
        default=None,
        description="The Redis that replicas share; if empty, each process keeps its own state.",
        examples=["${REDIS_URL:-}"],
    )

    database: Annotated[Secret | None, BeforeValidator(_database)] = Field(
        default=None,
        description="The database of created keys, the ledger and the audit log: SQLite or PostgreSQL. Without it "
        "these features are off.",
        examples=["${DATABASE_URL:-sqlite:///var/gatehouse.db}"],
    )
    pepper: Annotated[Secret, at_least(LEAST_PEPPER)] | None = Field(
        default=None,
        description="The secret that keys in the database are hashed with; by default one in a file in `data`.",
        examples=["${GATEHOUSE_PEPPER}"],
    )
    key_cache_ttl: Duration = Field(
        default=3600.0, description="How long cached keys stay valid while the database is unreachable."
    )
    retention: Whole = Field(default=400, ge=1, description="How many days the ledger stores single requests.")
    workers: Whole = Field(
        default=1,
        ge=1,
        le=64,
        description="Number of worker processes. They share limits through Redis, else through a file in `data`.",
    )

    @model_validator(mode="after")
    def _address_limit_fits(self) -> ServerConfig:
        if (self.max_connections_per_address or 0) > self.max_connections:
            raise wrong("max_connections_per_address is more than max_connections", "write at most max_connections")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """The clients of the database and of Redis."""
        for key in ("redis", "database"):
            if values.get(key) is not None:
                yield (key,), key
        if "postgres" in str(values.get("database") or "")[:10]:
            yield ("database",), "postgres"

    @property
    def host(self) -> str:
        """The host of `listen`."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return split_listen(self.listen)[1]


GuardrailRef = Annotated[str, Ref("guardrails", "guardrail")]
SourceName = Annotated[str, Ref("sources", "source")]
ModelRef = Annotated[str, Ref("models", "model")]


class RerankConfig(Struct):
    """Reranks the best twenty passages. May be written as a string: `sentences`, or a model."""

    needs = (("by",), ("url",))

    shorthand: ClassVar[str] = "by"

    by: Annotated[str, Ref("models", "model", wildcard="sentences")] | None = Field(
        default=None,
        description="By similarity of single `sentences`, or by a model's judgement.",
        examples=["sentences"],
    )
    url: HttpUrl | None = Field(
        default=None,
        description="Or a reranking endpoint in the format of Cohere, Jina, Voyage, vLLM and TEI.",
        examples=["https://api.cohere.com/v2/rerank"],
    )
    key: Secret | None = Field(default=None, description="The API key of the endpoint.", examples=["${COHERE_API_KEY}"])
    model: str = Field(default="", description="The model that the endpoint uses.", examples=["rerank-v3.5"])
    timeout: Duration = Field(default=5.0, description="Time limit of the endpoint; after it the order stays as it is.")
    private: Flag = Field(default=False, description="Whether the endpoint may have a private network address.")

    @model_validator(mode="after")
    def _one_of_both(self) -> RerankConfig:
        if (self.by is None) == (self.url is None):
            raise wrong("set either by or url", "write rerank: sentences, a model, or {url: ..., model: ...}")
        extra = sorted(self.model_fields_set - {"by"})
        if self.by is not None and extra:
            raise wrong(f"{extra[0]} is an option of an endpoint", "give url instead of by")
        return self


class QualityConfig(Struct):
    """A model judges, for a sample of questions, how many of the passages are relevant."""

    model: ModelRef = Field(description="The model that judges.", examples=["quick"])
    share: Percentage = Field(default=0.01, description="The share of questions to judge.")


class ContextConfig(Struct):
    """What is retrieved and added to the prompt."""

    renamed: ClassVar[Mapping[str, str]] = {"look_up": "lookup_tools", "top": "max_passages", "budget": "max_tokens"}

    sources: tuple[SourceName, ...] = Field(
        alias="from", min_length=1, description="The sources to search.", examples=["[manuals]"]
    )
    rewrite: Annotated[str, Ref("models", "model", wildcard="rules")] | None = Field(
        default="rules",
        description="What rewrites a follow-up as a standalone question: a model, or the built-in `rules`; null "
        "disables rewriting.",
        examples=["quick"],
    )
    queries: Whole = Field(
        default=1,
        ge=1,
        le=5,
        description="Into how many searches the model of `rewrite` may split a question.",
    )
    lookup_tools: tuple[Annotated[str, Ref("tools", "tool")], ...] = Field(
        default=(),
        description="Tools that the model of `rewrite` may call to find out whom or what a question refers to.",
        examples=["[people]"],
    )
    rerank: RerankConfig | None = Field(
        default=None, description="What reranks the best twenty passages.", examples=["sentences"]
    )
    quality: QualityConfig | None = Field(
        default=None,
        description="Judges the passages of a sample of questions, for the metrics.",
        examples=["{model: quick}"],
    )
    max_passages: Whole = Field(default=6, ge=1, le=100, description="The most passages in a prompt.")
    max_tokens: Tokens = Field(default=3000, description="The most tokens of all passages together.")

    @model_validator(mode="after")
    def _has_the_model_it_needs(self) -> ContextConfig:
        option = "queries" if self.queries > 1 else "lookup_tools" if self.lookup_tools else None
        if option is not None and self.rewrite in (None, "rules"):
            raise wrong(f"{option} needs a model that rewrites", "set rewrite to one of models")
        return self


class PipelineConfig(Struct):
    """What each phase does. The order of the phases is fixed."""

    renamed: ClassVar[Mapping[str, str]] = {"recall": "cache", "route": "router", "answer": "model"}

    guard_input: tuple[GuardrailRef, ...] = Field(
        default=(),
        description="Guardrails on requests and on retrieved context, in this order.",
        examples=["[pii]"],
    )
    cache: Annotated[str, Ref("caches", "cache")] | None = Field(
        default=None, description="The response cache; unset means that every request calls a model."
    )
    router: Annotated[str, Ref("routers", "router")] | None = Field(
        default=None, description="The router that chooses the model; unset means that `model` answers."
    )
    context: ContextConfig | None = Field(default=None, description="What to retrieve; unset disables retrieval.")
    model: ModelRef = Field(description="The model that answers.", examples=["quick"])
    tools: tuple[Annotated[str, Ref("tools", "tool")], ...] = Field(
        default=(),
        description="Tools of the gateway that the model may call; Gatehouse runs the calls.",
        examples=["[weather]"],
    )
    tool_steps: Whole = Field(
        default=4, ge=1, le=20, description="How many rounds of tool calls the model may make before it has to answer."
    )
    guard_output: tuple[GuardrailRef, ...] = Field(
        default=(), description="Guardrails on responses, in this order.", examples=["[leaks]"]
    )


class ObserveConfig(Struct):
    """Traces, metrics and logs. OpenTelemetry's environment variables set the limits of traces and other defaults."""

    otlp: HttpUrl | None = Field(
        default=None, description="The collector to send traces to, by OTLP.", examples=["http://localhost:4318"]
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None, description="The OTLP protocol; by default from the environment, else `http/protobuf`."
    )
    headers: Headers = Field(default={}, description="Headers to send to `otlp`; their values are masked like secrets.")
    sample: Percentage | None = Field(
        default=None,
        description="The share of requests to trace, among those without a `traceparent`; by default from the "
        "environment, else all.",
    )
    log: Literal["json", "text", "off"] = Field(default="json", description="The format of the log on stderr.")
    content: Literal["never"] = Field(default="never", description="Whether traces contain prompts and responses.")
    metrics: Flag = Field(default=True, description="Whether to serve `/metrics`.")
    service_name: str = Field(default="gatehouse", min_length=1, description="The `service.name` of traces.")

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """The packages for traces."""
        if values.get("otlp"):
            yield ("otlp",), "telemetry"
