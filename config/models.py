"""`models`: what an app may put into `model`, and how its targets are tried."""

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
        raise wrong("{value} is no target", "write provider/model, such as openai/{text}")
    return value


class TargetConfig(Struct):
    """A provider and one of its models. May be written as a string: `openai/gpt-5.4-mini`."""

    shorthand: ClassVar[str] = "target"

    target: Annotated[str, Checked(_target, r"^[^/]+/[\s\S]+$"), Ref("providers", "provider", prefix=True)] = Field(
        description="`provider/model`; the model may hold slashes.", examples=["openai/gpt-5.4-mini"]
    )
    weight: Whole = Field(default=1, ge=1, le=1_000_000, description="Its share, for strategy `weighted`.")
    priority: Whole = Field(
        default=1, ge=1, le=1000, description="Lower numbers are tried first; the strategy orders those with the same."
    )
    context_window: Tokens | None = Field(
        default=None, description="The most that prompt and answer may hold together; skipped when it is too small."
    )
    max_output: Tokens | None = Field(default=None, description="The most that one answer may hold.")

    @property
    def provider(self) -> str:
        """The provider's name in `providers`."""
        return self.target.partition("/")[0]

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.target.partition("/")[2]


_OLD_KINDS = {"on": (r"^cut$", "interrupted")}


class RetryConfig(Struct):
    """The same target again."""

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = _OLD_KINDS

    attempts: Whole = Field(default=2, ge=1, le=10, description="Calls to one target, the first included.")
    on: tuple[ErrorKind, ...] = Field(default=RETRY_ON, description="The classes of error that are tried again.")
    backoff: Pause = Field(
        default=0.25, description="The first pause; it doubles. A provider's retry-after comes first."
    )
    max_backoff: Pause = Field(default=8.0, description="The longest pause.")


class FallbackConfig(Struct):
    """The next target."""

    renamed_values: ClassVar[Mapping[str, tuple[str, str]]] = _OLD_KINDS

    on: tuple[ErrorKind, ...] = Field(
        default=FALLBACK_ON, description="The classes of error after which the next target is tried."
    )


class HedgeConfig(Struct):
    """A second call beside a slow first one; the first to answer wins."""

    after: Duration = Field(description="How long to wait for the first token.", examples=["800ms"])


class BreakerConfig(Struct):
    """Stops calling a target that keeps failing."""

    failures: Whole = Field(default=5, ge=1, description="Failures within the window that open it.")
    share: Percentage = Field(default=0.1, description="The share of the window's calls that must have failed too.")
    window: Duration = Field(default=30.0, description="How far back failures count.")
    cooldown: Duration = Field(
        default=5.0, description="The longest pause between two calls that try whether it is back."
    )


class ModelConfig(Struct):
    """What an app asks for: targets and how to try them, or a whole pipeline."""

    renamed: ClassVar[Mapping[str, str]] = {"too_long": "on_context_overflow"}

    needs = (("targets",), ("pipeline",))

    targets: tuple[TargetConfig, ...] = Field(default=(), description="Where it may be answered.")
    pipeline: Annotated[str, Ref("pipelines", "pipeline")] | None = Field(
        default=None, description="The pipeline that answers, instead of targets."
    )
    strategy: Literal["priority", "weighted", "least_busy", "fastest"] = Field(
        default="priority",
        description="How targets of the same priority are ordered: as listed, by weight, by calls under way, "
        "or the faster of two drawn at random.",
    )
    connect: Duration | None = Field(default=None, description="Time to open a connection; else the provider's.")
    first_token: Duration | None = Field(
        default=None,
        description="Time to the first token of a streamed attempt. Without it 60s, which comments and pings of the "
        "provider start again, up to `thinking`.",
    )
    thinking: Duration | None = Field(
        default=None,
        description="The same where the model thinks first: the request asks for reasoning, or the target's name is "
        "known for it. Without it `first_token` if that is set, else 10m.",
    )
    idle: Duration | None = Field(
        default=None,
        description="Time between two pieces of a stream, comments and pings counted. Without it 2m, and where the "
        "model thinks 10m.",
    )
    timeout: Duration | None = Field(
        default=None,
        description="Time for the whole of one attempt. Without it a whole answer has 10m, and a stream as long as it "
        "moves.",
    )
    deadline: Duration | None = Field(
        default=None,
        description="Time for all attempts together, of a stream up to its first token. Without it 10m, or the longest "
        "limit above that you have set.",
    )
    retry: RetryConfig = Field(default=RetryConfig(), description="The same target again.")
    fallback: FallbackConfig = Field(default=FallbackConfig(), description="The next target.")
    hedge: HedgeConfig | None = Field(default=None, description="A second call beside a slow one.")
    breaker: BreakerConfig = Field(default=BreakerConfig(), description="Stops calling a target that keeps failing.")
    on_refusal: Literal["answer", "fallback"] = Field(
        default="answer", description="When a model declines: pass that on, or try the next target."
    )
    on_context_overflow: Literal["refuse", "oldest", "middle"] = Field(
        default="refuse",
        description="A conversation that is too long for every target: it is refused, or turns are left out, the "
        "oldest first or those in the middle, and at last the middle of the longest text.",
    )
    unsupported_params: UnsupportedParams | None = Field(
        default=None, description="What to do with fields that a target can't say; else the provider's."
    )

    limits: LimitsConfig | None = Field(default=None, description="How much all callers together may ask of it.")

    @model_validator(mode="after")
    def _targets_or_pipeline(self) -> ModelConfig:
        if self.pipeline is None and not self.targets:
            raise wrong("the model has no targets", "add targets: [provider/model], or pipeline: name")
        extra = sorted(self.model_fields_set - {"pipeline", "limits"})
        if self.pipeline is not None and extra:
            raise wrong(f"a model that is a pipeline has no {extra[0]}", "that belongs to the pipeline's answer model")
        for name in ("first_token", "thinking"):
            limit = getattr(self, name)
            if limit is not None and self.timeout is not None and limit > self.timeout:
                raise wrong(f"{name} is longer than timeout", "the timeout holds for the whole of an attempt")
        return self
