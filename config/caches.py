"""`caches`: answers that are given again."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from config.kinds import OfKind
from config.secret import Secret
from config.sources import postgres_address
from config.struct import Component, Flag, Number, Struct, Whole
from config.units import Duration, Percentage, Size


class MemoryTierConfig(Component):
    """Answers in this process."""

    kind: Literal["memory"] = Field(description="In this process.")
    size: Size = Field(default=64_000_000, description="The room for them; beyond it some go.")
    evict: Literal["s3-fifo", "lru", "lfu", "fifo"] = Field(
        default="s3-fifo",
        description="Which go first: those asked for once, the longest unused, the least used, or the oldest.",
    )


class RedisTierConfig(Component):
    """Answers in the Redis of `server.redis`."""

    kind: Literal["redis"] = Field(description="In the Redis of `server.redis`, for all replicas.")


class PostgresTierConfig(Component):
    """Answers in a PostgreSQL."""

    kind: Literal["postgres"] = Field(description="In a PostgreSQL, for all replicas.")
    url: Annotated[Secret, BeforeValidator(postgres_address)] = Field(
        description="Its address.", examples=["${DATABASE_URL}"]
    )


TierConfig: TypeAlias = MemoryTierConfig | RedisTierConfig | PostgresTierConfig


class SemanticConfig(Struct):
    """Answers to questions that mean the same."""

    wrong_hits: Percentage = Field(
        default=0.01, gt=0, description="The share of hits that may be wrong; how sure it must be is learned from that."
    )
    sample: Percentage = Field(default=0.02, description="The share of hits that are answered anew, to learn from.")
    conversations: Flag = Field(
        default=False,
        description="Whether later turns are compared too, by the question that the model of `context.rewrite` makes "
        "of them; what earlier turns asked for beside it counts for nothing then.",
    )
    shadow: Flag = Field(default=False, description="Learns and measures, and gives nothing.")
    most: Whole = Field(
        default=20_000, ge=1, le=5_000_000, description="Questions that are kept; each takes some 3 KB of memory."
    )


class CacheConfig(Struct):
    """Answers to questions that were asked before, word for word or in meaning."""

    ttl: Duration = Field(default=3600.0, description="How long an answer is kept.")
    per: Literal["app", "user", "labels"] = Field(
        default="app",
        description="Who shares answers: callers of one app, one `user` of an app, or all apps with the same labels.",
    )
    tiers: tuple[Annotated[TierConfig, OfKind("tiers")], ...] = Field(
        default=(MemoryTierConfig(kind="memory"),),
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
