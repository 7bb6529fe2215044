"""`models`: the names that an app may request, and how their targets are tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from config.access import LimitsConfig
from config.findings import wrong
from config.providers import UnsupportedParams
from config.struct import Checked, Ref, Struct, Whole
from config.units import Duration, Pause, Percentage, Tokens

ErrorKind: TypeAlias = Literal[
    "connect", "timeout", "rate_limited", "server_error", "overloaded", "interrupted", "malformed", "empty", "auth",
    "context_window", "not_found", "refusal",
]  # fmt: skip
RETRY_ON: tuple[ErrorKind, ...] = (
    "connect", "timeout", "rate_limited", "server_error", "overloaded", "interrupted", "malformed", "empty",
)  # fmt: skip
FALLBACK_ON: tuple[ErrorKind, ...] = (*RETRY_ON, "auth", "context_window", "not_found")


def _target(value: str) -> str:
    provider, _, model = value.partition("/")
    if not provider or not model or value != value.strip():
        raise wrong("{value} is not a target", "write provider/model, such as openai/{text}")
    return value


class TargetConfig(Struct):
    """A provider and one of its models. May be written as a string: `openai/gpt-5.4-mini`."""

    shorthand: ClassVar[str] = "target"

    target: Annotated[str, Checked(_target, r"^[^/]+/[\s\S]+$"), Ref("providers", "provider", prefix=True)] = Field(
        description="`provider/model`; the model may contain slashes.", examples=["openai/gpt-5.4-mini"]
    )
    weight: Whole = Field(default=1, ge=1, le=1_000_000, description="Its share of requests with strategy `weighted`.")
    priority: Whole = Field(
        default=1,
        ge=1,
        le=1000,
        description="Lower numbers are tried first; `strategy` orders targets with the same number.",
    )
    context_window: Tokens | None = Field(
        default=None,
        description="The most tokens of prompt and response together; the target is skipped when a request needs more.",
    )
    max_output: Tokens | None = Field(default=None, description="The most output tokens of one response.")

    @property
    def provider(self) -> str:
        """The provider's name in `providers`."""
        return self.target.partition("/")[0]

    @property
    def model(self) -> str:
        """The provider's name for the model."""
        return self.target.partition("/")[2]


_OLD_KINDS = {"on": (r"^cut$", "interrupted")}


class RetryConfig(Struct):
    """Retries on the same target."""

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = _OLD_KINDS

    attempts: Whole = Field(default=2, ge=1, le=10, description="Calls to one target, including the first.")
    on: tuple[ErrorKind, ...] = Field(default=RETRY_ON, description="The error classes to retry.")
    backoff: Pause = Field(
        default=0.25,
        description="The pause before the first retry; it doubles each time. A provider's `retry-after` overrides it.",
    )
    max_backoff: Pause = Field(default=8.0, description="The longest pause between retries.")


class FallbackConfig(Struct):
    """Fallback to the next target."""

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = _OLD_KINDS

    on: tuple[ErrorKind, ...] = Field(
        default=FALLBACK_ON, description="The error classes after which the next target is tried."
    )


class HedgeConfig(Struct):
    """A second call when the first is slow; the first response wins."""

    after: Duration = Field(
        description="How long to wait for the first token before the second call.", examples=["800ms"]
    )


class BreakerConfig(Struct):
    """A circuit breaker: stops calls to a target that keeps failing."""

    failures: Whole = Field(default=5, ge=1, description="Failures within the window that open the breaker.")
    share: Percentage = Field(default=0.1, description="The share of the window's calls that must also have failed.")
    window: Duration = Field(default=30.0, description="How long a failure counts.")
    cooldown: Duration = Field(
        default=5.0, description="The longest pause between two probe calls while the breaker is open."
    )


class ModelConfig(Struct):
    """A model that an app may request: targets and how to try them, or a pipeline."""

    renamed: ClassVar[Mapping[str, str]] = {"too_long": "on_context_overflow"}

    needs = (("targets",), ("pipeline",))

    targets: tuple[TargetConfig, ...] = Field(default=(), description="The providers and models that may answer.")
    pipeline: Annotated[str, Ref("pipelines", "pipeline")] | None = Field(
        default=None, description="The pipeline that answers, instead of targets."
    )
    strategy: Literal["priority", "weighted", "least_busy", "fastest"] = Field(
        default="priority",
        description="The order of targets with the same priority: as listed, by weight, by calls in flight, or the "
        "faster of two picked at random.",
    )
    connect: Duration | None = Field(default=None, description="Time to open a connection; by default the provider's.")
    first_token: Duration | None = Field(
        default=None,
        description="Time to the first token of a streamed attempt. By default 60s, which restarts at each comment or "
        "ping of the provider, up to `thinking`.",
    )
    thinking: Duration | None = Field(
        default=None,
        description="Time to the first token of a model that reasons first: the request asks for reasoning, or the "
        "target is known to reason. By default `first_token` if set, else 10m.",
    )
    idle: Duration | None = Field(
        default=None,
        description="Time between two chunks of a stream; comments and pings count as chunks. By default 2m, and 10m "
        "for a model that reasons.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="Time for one complete attempt. By default 10m for a non-streaming response; a stream may last as "
        "long as chunks arrive.",
    )
    deadline: Duration | None = Field(
        default=None,
        description="Time for all attempts together, for a stream up to its first token. By default 10m, or the "
        "longest of the limits above that you have set.",
    )
    retry: RetryConfig = Field(default=RetryConfig(), description="Retries on the same target.")
    fallback: FallbackConfig = Field(default=FallbackConfig(), description="Fallback to the next target.")
    hedge: HedgeConfig | None = Field(default=None, description="A second call when the first is slow.")
    breaker: BreakerConfig = Field(default=BreakerConfig(), description="Circuit breaker of each target.")
    on_refusal: Literal["answer", "fallback"] = Field(
        default="answer", description="When a model refuses: return the refusal, or try the next target."
    )
    on_context_overflow: Literal["refuse", "oldest", "middle"] = Field(
        default="refuse",
        description="When a conversation is too long for every target: refuse it, or drop the oldest turns or the "
        "turns in the middle; if that is not enough, cut the middle of the longest text.",
    )
    unsupported_params: UnsupportedParams | None = Field(
        default=None,
        description="What to do with request fields that a target does not support; by default the provider's setting.",
    )

    limits: LimitsConfig | None = Field(default=None, description="Rate limits of all callers together.")

    @model_validator(mode="after")
    def _targets_or_pipeline(self) -> ModelConfig:
        if self.pipeline is None and not self.targets:
            raise wrong("the model has no targets", "add targets: [provider/model], or pipeline: name")
        extra = sorted(self.model_fields_set - {"pipeline", "limits"})
        if self.pipeline is not None and extra:
            raise wrong(f"a model with a pipeline can't have {extra[0]}", "set it on the model of the pipeline")
        for name in ("first_token", "thinking"):
            limit = getattr(self, name)
            if limit is not None and self.timeout is not None and limit > self.timeout:
                raise wrong(
                    f"{name} is longer than timeout", "write at most timeout, which limits the complete attempt"
                )
        return self
