"""`caches`: answers that are given again. Each kind of tier has its options beside it, in `cache/`."""

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
    """What a process lends to the tiers of its caches."""

    @property
    def redis(self) -> Redis | None:
        """The client of `server.redis`; None where that is empty."""
        ...


class TierConfig(Component):
    """What every tier has."""

    # Whether its answers are in the Redis of `server.redis`: replicas then also share who makes an answer.
    in_redis: ClassVar[bool] = False
    # Whether it is behind a network: then it has a deadline, and is a miss while it is broken.
    is_remote: ClassVar[bool] = True

    kind: str = Field(description="Where answers are kept.")

    @abstractmethod
    def open(self, cache: str, parts: TierParts) -> Tier:
        """The tier of the cache of that name, which connects when it is first used. Raises `ValueError`."""


class SemanticConfig(Struct):
    """Answers to questions that mean the same."""

    renamed: ClassVar[Mapping[str, str]] = {"wrong_hits": "max_false_hit_rate", "most": "max_questions"}

    max_false_hit_rate: Percentage = Field(
        default=0.01, gt=0, description="The largest share of hits that may be wrong; the threshold is learned from it."
    )
    sample: Percentage = Field(default=0.02, description="The share of hits that are answered anew, to learn from.")
    conversations: Flag = Field(
        default=False,
        description="Whether later turns are compared too, by the question that the model of `context.rewrite` makes "
        "of them; what earlier turns asked for beside it counts for nothing then.",
    )
    shadow: Flag = Field(default=False, description="Learns and measures, and gives nothing.")
    max_questions: Whole = Field(
        default=20_000, ge=1, le=5_000_000, description="The most stored questions; each takes about 3 KB of memory."
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The model that embeds questions."""
        yield (), "embeddings"


class CacheConfig(Struct):
    """A response cache: exact, and semantic where configured."""

    renamed: ClassVar[Mapping[str, str]] = {"per": "scope"}

    ttl: Duration = Field(default=3600.0, description="How long an answer is kept.")
    scope: Literal["app", "user", "labels"] = Field(
        default="app",
        description="Who shares answers: callers of one app, one `user` of an app, or all apps with the same labels.",
    )
    tiers: tuple[Annotated[TierConfig, ComponentField("tiers")], ...] = Field(
        default=({"kind": "memory"},),
        validate_default=True,
        min_length=1,
        description="Where they are kept, the nearest first.",
        examples=["[{kind: memory, size: 256 MB}, {kind: redis}]"],
    )
    temperature: Number = Field(
        default=0.3, ge=0, le=2, description="Requests with a higher one are neither answered from it nor kept."
    )
    personal: Flag = Field(
        default=False, description="Whether questions about the asker, or about the moment, are kept too."
    )
    semantic: SemanticConfig | None = Field(
        default=None,
        description="Whether other words for the same question find an answer too; without it only the same.",
    )
