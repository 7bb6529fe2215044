"""Flags prompts that differ from an app's own traffic; never blocks them.

Stores the last few hundred prompts per app as embeddings, lengths and shares of special characters, never as text. A
prompt is unusual if it exceeds the limits that all but a small share of them stay within.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from config.document import Path
from config.struct import Whole
from config.units import Percentage
from contract.finding import Finding
from guardrails.component import Guardrail, GuardrailParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from contract.exchange import Exchange
    from contract.finding import Stage
    from contract.guards import AskAgain
    from contract.messages import ChatRequest
    from guardrails.checks import InputCheck
    from guardrails.embedding_memo import EmbeddingMemo
    from guardrails.verdict import Policy

REMEMBERED = 500
NEAREST = 5
# Characters in which the share of special characters is counted.
_SAMPLE_CHARACTERS = 20_000
# New prompts after which the limits are measured again.
_REFRESH = 50


class AnomalyConfig(Guardrail):
    """Prompts that differ from the app's usual traffic. They are only flagged."""

    kind: Literal["anomaly"] = Field(description="Prompts that differ from the app's own traffic; only flagged.")
    sides: ClassVar[frozenset[str]] = frozenset({"input"})
    steps: ClassVar[frozenset[str]] = frozenset({"flag"})
    after: Whole = Field(default=200, ge=10, description="How many prompts of an app it must observe first.")
    share: Percentage = Field(default=0.01, description="The share of usual prompts that may be flagged.")
    on_error: Literal["closed", "open"] = Field(
        default="open",
        description="What to do if it fails or is too slow: refuse with 503 (closed), or let the text pass (open).",
    )

    @classmethod
    def needed_extras(cls, values: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The model that embeds texts."""
        yield ("kind",), "embeddings"

    @property
    def actions_shown(self) -> tuple[str, ...]:
        """See `GuardrailConfig.actions_shown`."""
        return ("flag",)

    def request_check(self, name: str, parts: GuardrailParts) -> InputCheck:
        """See `Guardrail.request_check`."""
        policy = self.policy(name, parts, {"*": "flag"})
        return AnomalyGuard(policy, parts.embeddings(), parts.state(name, AppTraffic), self.after, self.share)


class Traffic:
    """The recent prompts of one app, as features."""

    def __init__(self) -> None:
        self._rows: deque[tuple[NDArray[np.float32], float, float]] = deque(maxlen=REMEMBERED)
        self._limits: tuple[float, float, float] | None = None
        self._since = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, vector: NDArray[np.float32], size: float, signs: float) -> None:
        """Adds a prompt."""
        self._rows.append((vector, size, signs))
        self._since += 1

    def unusual(self, vector: NDArray[np.float32], size: float, signs: float, share: float) -> list[str]:
        """Returns how the prompt differs from all but `share` of the recent ones."""
        import numpy as np

        matrix = np.stack([row[0] for row in self._rows])
        if self._limits is None or self._since >= _REFRESH:
            self._limits, self._since = self._measure(matrix, share), 0
        min_nearness, max_size, max_signs = self._limits
        differences = []
        if _nearness(matrix @ vector) < min_nearness:
            differences.append("unlike the app's traffic")
        if size > max_size + math.log(2):
            differences.append("unusually long")
        if signs > max_signs + 0.1:
            differences.append("unusual signs")
        return differences

    def _measure(self, matrix: NDArray[np.float32], share: float) -> tuple[float, float, float]:
        """The limits that `share` of the recent prompts exceed, each compared with the others."""
        import numpy as np

        cosines = matrix @ matrix.T
        np.fill_diagonal(cosines, -1.0)
        near = sorted(_nearness(row) for row in cosines)
        size = sorted(row[1] for row in self._rows)
        signs = sorted(row[2] for row in self._rows)
        last = len(near) - 1
        return near[int(share * last)], size[last - int(share * last)], signs[last - int(share * last)]


class AppTraffic(dict[str, Traffic]):
    """The traffic of each app."""


def _nearness(cosines: NDArray[np.float32]) -> float:
    import numpy as np

    count = min(NEAREST, len(cosines) - 1)
    return float(np.partition(cosines, len(cosines) - count)[-count:].mean())


class AnomalyGuard:
    """Implements `guardrails.checks.InputCheck`. It only flags."""

    def __init__(
        self, policy: Policy, vectors: EmbeddingMemo, traffic: dict[str, Traffic], after: int, share: float
    ) -> None:
        """`traffic` by app; flags nothing before `after` prompts; `share` of usual prompts may be flagged."""
        self.policy = policy
        self._vectors = vectors
        self._traffic = traffic
        self._after = max(after, 2 * NEAREST)
        self._share = share

    async def check(
        self, request: ChatRequest, exchange: Exchange, stage: Stage = "input", again: AskAgain | None = None
    ) -> ChatRequest:
        """Returns the request unchanged. Raises `GuardrailBroken`."""
        prompts = [message.text for message in request.messages if message.role == "user" and message.text.strip()]
        if stage != "input" or not prompts:
            return request
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                differences = await self._unusual(
                    prompts[-1], exchange.caller.app if exchange.caller is not None else ""
                )
        except Exception as error:
            self.policy.failed(error, stage, exchange)
            return request
        for rule, count in Counter(differences).items():
            exchange.findings.append(Finding(self.policy.name, rule, "flag", stage, count, shadow=self.policy.shadow))
        return request

    async def _unusual(self, text: str, app: str) -> list[str]:
        import numpy as np

        vector = np.asarray(await self._vectors.of(text), dtype=np.float32).mean(0)
        vector /= max(1e-9, float(np.linalg.norm(vector)))
        size = math.log1p(len(text))
        sample = text[:_SAMPLE_CHARACTERS]
        signs = sum(not (letter.isalnum() or letter.isspace()) for letter in sample) / len(sample)
        traffic = self._traffic.setdefault(app, Traffic())
        differences = traffic.unusual(vector, size, signs, self._share) if len(traffic) >= self._after else []
        traffic.add(vector, size, signs)
        return differences
