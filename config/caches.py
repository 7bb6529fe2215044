"""`caches`: stored responses. The options of each kind of tier are next to its code, in `cache/`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from pydantic import Field

from config.document import Path
from config.kinds import ComponentField
from config.struct import Component, Flag, Number, Struct, Whole
from config.units import Duration, Percentage

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from contract.tiers import Tier


class TierParts(Protocol):
    """What a process provides to the tiers of its caches."""

    @property
    def redis(self) -> Redis | None:
        """The client of `server.redis`; None if that is not set."""
        ...


class TierConfig(Component):
    """Options of every tier."""

    # Whether it stores responses in the Redis of `server.redis`: replicas then also share calls in flight.
    in_redis: ClassVar[bool] = False
    # Whether it is behind a network: then look-ups have a deadline, and a failure counts as a miss.
    is_remote: ClassVar[bool] = True

    kind: str = Field(description="Where responses are stored.")

    @abstractmethod
    def open(self, cache: str, parts: TierParts) -> Tier:
        """Returns the tier for the cache of that name; it connects on first use. Raises `ValueError`."""


class SemanticConfig(Struct):
    """Reuses a response for a question that means the same."""

    renamed: ClassVar[Mapping[str, str]] = {"wrong_hits": "max_false_hit_rate", "most": "max_questions"}

    max_false_hit_rate: Percentage = Field(
        default=0.01,
        gt=0,
        description="The largest acceptable share of false hits; the similarity threshold is learned from it.",
    )
    sample: Percentage = Field(
        default=0.02,
        description="The share of hits that a model answers again, to measure false hits and learn the threshold.",
    )
    conversations: Flag = Field(
        default=False,
        description="Also compare later turns of a conversation, by the standalone question that the model of "
        "`context.rewrite` writes; other instructions in earlier turns are ignored then.",
    )
    shadow: Flag = Field(default=False, description="Dry run: learn and measure, but serve no hits.")
    max_questions: Whole = Field(
        default=20_000, ge=1, le=5_000_000, description="The most questions to store; each takes about 3 KB of memory."
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The embedding model for questions."""
        yield (), "embeddings"


class CacheConfig(Struct):
    """A response cache: exact, and semantic where configured."""

    renamed: ClassVar[Mapping[str, str]] = {"per": "scope"}

    ttl: Duration = Field(default=3600.0, description="How long a response is stored.")
    scope: Literal["app", "user", "labels"] = Field(
        default="app",
        description="Who shares responses: callers of one app, one `user` of an app, or all apps with the same labels.",
    )
    tiers: tuple[Annotated[TierConfig, ComponentField("tiers")], ...] = Field(
        default=({"kind": "memory"},),
        validate_default=True,
        min_length=1,
        description="Where responses are stored, the nearest first.",
        examples=["[{kind: memory, size: 256 MB}, {kind: redis}]"],
    )
    temperature: Number = Field(
        default=0.3, ge=0, le=2, description="Requests with a higher temperature bypass the cache."
    )
    personal: Flag = Field(
        default=False, description="Also store responses to questions about the caller or about the current moment."
    )
    semantic: SemanticConfig | None = Field(
        default=None,
        description="Also reuse responses for questions with the same meaning; unset means only equal requests hit.",
    )
