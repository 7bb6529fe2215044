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
        raise wrong("this is no address of a Redis", "write redis://host:6379/0, rediss://... or unix:///path")
    return value


def _is_postgres(value: str) -> bool:
    if re.match(r"postgres(?:ql)?://.", value) is None:
        return False
    # Several hosts have their ports in their own way.
    netloc = value.partition("://")[2].partition("/")[0].rpartition("@")[2]
    return all(re.fullmatch(r"(?:\[[^]]+\]|[^:\[\]]*)(?::[0-9]{1,5})?", each) for each in netloc.split(","))


def _database(value: object, info: ValidationInfo) -> object:
    if value in ("", None):
        return None
    if isinstance(value, str) and value.startswith("sqlite:///"):
        place = folder_of(value.removeprefix("sqlite:///"), info)
        made = f"sqlite:///{place}"
        return Substituted(made, value.reference) if isinstance(value, Substituted) else made
    if isinstance(value, str) and not _is_postgres(value):
        raise wrong(
            "this is no address of a database", "write sqlite:///var/gatehouse.db or postgresql://user@host/name"
        )
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
        default="127.0.0.1:8080", description="Host and port; port 0 takes a free one."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Networks of load balancers whose `x-forwarded-for` is trusted; empty means none.",
        examples=["[10.0.0.0/8]"],
    )
    max_body: Size = Field(default=32_000_000, description="The largest request body; beyond it 413.")
    cors_origins: Origins | None = Field(
        default=None,
        description="Whose web pages may call from a browser (CORS): `*`, `null`, exact origins, and ones with a star "
        "for subdomains or for the port. Without it pages of this machine (`http://localhost:*`, `http://127.0.0.1:*`) "
        "where `listen` is for this machine only, else nobody's; `[]` is nobody's. Keys are asked for as ever.",
        examples=["[https://chat.example.com, https://*.example.org, 'http://localhost:*']"],
    )
    header_timeout: Duration = Field(
        default=20.0, description="How long a caller may take for a request's headers; then 408, or the end."
    )
    body_timeout: Duration = Field(
        default=20.0, description="How long a body may be under way before `min_rate` holds; then 408."
    )
    write_timeout: Duration = Field(
        default=30.0, description="How long a caller that reads slower than `min_rate` is waited for."
    )
    idle_timeout: Duration = Field(default=75.0, description="How long a connection without a request is kept.")
    min_rate: Size = Field(
        default=1000, description="The lowest rate, in bytes a second, at which a caller may send or read."
    )
    max_connections: Whole = Field(
        default=10_000,
        ge=10,
        description="Open connections of each worker; fewer where the limit of open files is low. Beyond it, the "
        "connections that were idle the longest are closed; then new ones get 503.",
    )
    max_connections_per_address: Whole | None = Field(
        default=None,
        ge=1,
        description="Open connections from one address that is none of `trusted_proxies`; by default half of all.",
    )
    drain: Duration = Field(default=30.0, description="How long running answers may finish after SIGTERM.")
    shutdown_delay: Duration | None = Field(
        default=None,
        description="How long the gateway still accepts requests after SIGTERM while `/readyz` returns 503, so that "
        "load balancers take it out first.",
        examples=["5s"],
    )
    watch: Flag = Field(
        default=True,
        description="Reload when this file changes, or one that a `${file:...}` in it names. SIGHUP reloads in any "
        "case.",
    )
    keepalive: Duration = Field(default=15.0, description="Time between comments on a silent stream.")
    data: Annotated[Path | None, BeforeValidator(_data), PlainSerializer(str)] = Field(
        default=None, description="The folder for what is kept on disk; without it one in the user's cache."
    )
    redis: Annotated[Secret | None, BeforeValidator(_redis)] = Field(
        default=None,
        description="What replicas share; empty keeps it in this process.",
        examples=["${REDIS_URL:-}"],
    )

    database: Annotated[Secret | None, BeforeValidator(_database)] = Field(
        default=None,
        description="Where keys that are made while it runs, the ledger and the audit are: SQLite or PostgreSQL. "
        "Without it there are none.",
        examples=["${DATABASE_URL:-sqlite:///var/gatehouse.db}"],
    )
    pepper: Annotated[Secret, at_least(LEAST_PEPPER)] | None = Field(
        default=None,
        description="What keys in the database are hashed with; without it, a file beside the data.",
        examples=["${GATEHOUSE_PEPPER}"],
    )
    key_cache_ttl: Duration = Field(
        default=3600.0, description="How long cached keys stay valid while the database is unreachable."
    )
    retention: Whole = Field(default=400, ge=1, description="How many days the ledger keeps single requests.")
    workers: Whole = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that serve. They share limits by Redis, else by a file of `data`.",
    )

    @model_validator(mode="after")
    def _no_address_has_more_than_all(self) -> ServerConfig:
        if (self.max_connections_per_address or 0) > self.max_connections:
            raise wrong("max_connections_per_address is more than max_connections", "write at most max_connections")
        return self

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """What keeps keys and the ledger, and what replicas share."""
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
    """What puts the best twenty in a better order. May be written as a string: `sentences`, or a model."""

    needs = (("by",), ("url",))

    shorthand: ClassVar[str] = "by"

    by: Annotated[str, Ref("models", "model", wildcard="sentences")] | None = Field(
        default=None, description="Likeness of single `sentences`, or a model that is asked.", examples=["sentences"]
    )
    url: HttpUrl | None = Field(
        default=None,
        description="Or an endpoint for reranking, as Cohere, Jina, Voyage, vLLM and TEI have it.",
        examples=["https://api.cohere.com/v2/rerank"],
    )
    key: Secret | None = Field(default=None, description="The endpoint's key.", examples=["${COHERE_API_KEY}"])
    model: str = Field(default="", description="The endpoint's model.", examples=["rerank-v3.5"])
    timeout: Duration = Field(default=5.0, description="How long the endpoint may take; then the order stays.")
    private: Flag = Field(default=False, description="Whether the endpoint may be in one's own network.")

    @model_validator(mode="after")
    def _one_of_both(self) -> RerankConfig:
        if (self.by is None) == (self.url is None):
            raise wrong("there must be either by or url", "write rerank: sentences, a model, or {url: ..., model: ...}")
        extra = sorted(self.model_fields_set - {"by"})
        if self.by is not None and extra:
            raise wrong(f"{extra[0]} belongs to an endpoint", "give its url instead of by")
        return self


class QualityConfig(Struct):
    """A model that judges, on a sample of the questions, how many of the passages help."""

    model: ModelRef = Field(description="The model that judges.", examples=["quick"])
    share: Percentage = Field(default=0.01, description="The share of the questions that are judged.")


class ContextConfig(Struct):
    """What is retrieved and added to the prompt."""

    renamed: ClassVar[Mapping[str, str]] = {"look_up": "lookup_tools", "top": "max_passages", "budget": "max_tokens"}

    sources: tuple[SourceName, ...] = Field(
        alias="from", min_length=1, description="The sources to search.", examples=["[manuals]"]
    )
    rewrite: Annotated[str, Ref("models", "model", wildcard="rules")] | None = Field(
        default="rules",
        description="What makes a follow-up stand alone: a model, or the `rules` that ship; null nothing.",
        examples=["quick"],
    )
    queries: Whole = Field(
        default=1,
        ge=1,
        le=5,
        description="Into how many searches the model of `rewrite` may take a question apart.",
    )
    lookup_tools: tuple[Annotated[str, Ref("tools", "tool")], ...] = Field(
        default=(),
        description="Tools by which the model of `rewrite` may find out whom or what a question means.",
        examples=["[people]"],
    )
    rerank: RerankConfig | None = Field(
        default=None, description="What puts the best twenty in a better order.", examples=["sentences"]
    )
    quality: QualityConfig | None = Field(
        default=None, description="Judges passages on a sample, for the metrics.", examples=["{model: quick}"]
    )
    max_passages: Whole = Field(default=6, ge=1, le=100, description="The most passages in a prompt.")
    max_tokens: Tokens = Field(default=3000, description="The most tokens that all passages have together.")

    @model_validator(mode="after")
    def _asks_a_model(self) -> ContextConfig:
        wanting = "queries" if self.queries > 1 else "lookup_tools" if self.lookup_tools else None
        if wanting is not None and self.rewrite in (None, "rules"):
            raise wrong(f"{wanting} needs a model that rewrites", "write rewrite: and one of models")
        return self


class PipelineConfig(Struct):
    """What each phase does. The order of the phases is fixed."""

    renamed: ClassVar[Mapping[str, str]] = {"recall": "cache", "route": "router", "answer": "model"}

    guard_input: tuple[GuardrailRef, ...] = Field(
        default=(),
        description="Guardrails on the way in, in this order, and on what the context adds.",
        examples=["[pii]"],
    )
    cache: Annotated[str, Ref("caches", "cache")] | None = Field(
        default=None, description="The response cache; without it every request goes to a model."
    )
    router: Annotated[str, Ref("routers", "router")] | None = Field(
        default=None, description="The router that chooses the model; without it `model` answers."
    )
    context: ContextConfig | None = Field(default=None, description="What to retrieve; without it nothing.")
    model: ModelRef = Field(description="The model that answers.", examples=["quick"])
    tools: tuple[Annotated[str, Ref("tools", "tool")], ...] = Field(
        default=(),
        description="Tools of ours that the model may call; Gatehouse answers the calls.",
        examples=["[weather]"],
    )
    tool_steps: Whole = Field(default=4, ge=1, le=20, description="How often it may call before it has to answer.")
    guard_output: tuple[GuardrailRef, ...] = Field(
        default=(), description="Guardrails on the way out, in this order.", examples=["[leaks]"]
    )


class ObserveConfig(Struct):
    """Traces, metrics and logs. What is left out of traces, OpenTelemetry's environment variables decide."""

    otlp: HttpUrl | None = Field(
        default=None, description="The collector that traces go to, by OTLP.", examples=["http://localhost:4318"]
    )
    protocol: Literal["http/protobuf", "grpc"] | None = Field(
        default=None, description="How it is spoken to; `http/protobuf` unless the environment says otherwise."
    )
    headers: Headers = Field(default={}, description="Headers to send there; values count as secrets.")
    sample: Percentage | None = Field(
        default=None,
        description="The share of requests that are traced, among those that bring no `traceparent`; all of them "
        "unless the environment says otherwise.",
    )
    log: Literal["json", "text", "off"] = Field(default="json", description="The form of the log on stderr.")
    content: Literal["never"] = Field(default="never", description="Whether prompts and answers are recorded.")
    metrics: Flag = Field(default=True, description="Whether `/metrics` answers.")
    service_name: str = Field(default="gatehouse", min_length=1, description="`service.name` of the traces.")

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[FilePath, str]]:
        """Traces."""
        if values.get("otlp"):
            yield ("otlp",), "telemetry"
