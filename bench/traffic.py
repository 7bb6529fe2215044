"""Mixed requests of every kind that has a different cost: the models of the gateway, and the questions.

Each kind is a model of the gateway whose targets are models of the simulator, which behave as their names say. A kind's
name ends in the dialect of its first target; `leaves` is the text after which its caller disconnects.
"""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import msgspec

DIALECTS = {"o": "openai", "a": "anthropic", "g": "gemini"}
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "embed": "/v1/embeddings"}
KEY = "exactness-key"
_WORDS = (
    "how many pages",
    "does",
    "the printer",
    "print",
    "größer",
    "世界",
    "before its {tray}",
    "is empty,",
    "4711 more?",
)
_RETRY = "retry: {attempts: 3, backoff: 5ms, max_backoff: 20ms}"
_ONCE = "retry: {attempts: 1}"
_CALM = "breaker: {failures: 1000000}"
FLAKY_CALLS = 40_000


class Kind(msgspec.Struct, frozen=True):
    """`share` of the requests; `stream` None is either. `at_rest`: nothing is under way when its caller leaves."""

    name: str
    targets: tuple[str, ...]
    share: float = 1.0
    options: str = _ONCE
    stream: bool | None = None
    leaves: tuple[int, int] | None = None
    at_rest: bool = False
    paired: bool = False
    cached: bool = False


class Question(msgspec.Struct, frozen=True):
    """One request to make. `leave_at` is the text on whose arrival the caller goes; `leave_s`: or after so long."""

    kind: Kind
    path: str
    body: bytes
    stream: bool
    leave_at: bytes = b""
    leave_s: float | None = None


def _kinds_of(d: str) -> list[Kind]:
    """Those whose first target speaks one dialect; others take over in another."""
    other = {"o": "a", "a": "g", "g": "o"}[d]
    stalled = {"o": 9, "a": 10, "g": 8}[d]
    spare = f"{other}/sim-n7"
    return [
        Kind(f"plain-{d}", (f"{d}/sim-n12",), 9),
        Kind(f"good-{d}", (f"{d}/sim-ok",), 4),
        Kind(f"reason-{d}", (f"{d}/sim-reason-n6",), 2),
        Kind(f"cached-{d}", (f"{d}/sim-cached7-n5",), 2),
        Kind(f"tools-{d}", (f"{d}/sim-tools",), 1),
        Kind(f"silent-{d}", (f"{d}/sim-nousage-n9",), 2),
        Kind(f"thinking-{d}", (f"{d}/sim-nousage-reason-n9",), 1),
        Kind(f"paced-{d}", (f"{d}/sim-n30-pace2",), 2, stream=True),
        Kind(f"cut-{d}", (f"{d}/sim-n20-cut9",), 1.5),
        Kind(f"reset-{d}", (f"{d}/sim-n20-cut9-reset",), 1),
        Kind(f"clean-{d}", (f"{d}/sim-n20-cutclean9",), 1),
        Kind(f"silentcut-{d}", (f"{d}/sim-nousage-n20-cut9",), 1, stream=True),
        Kind(f"broken-{d}", (f"{d}/sim-n20-erroreven9",), 1),
        Kind(f"brokenburst-{d}", (f"{d}/sim-n20-erroreven9-burst",), 1, stream=True),
        Kind(f"idle-{d}", (f"{d}/sim-n20-stall9",), 0.4, f"idle: 300ms, {_ONCE}", stream=True),
        Kind(f"flaky-{d}", (f"{d}/flaky-{d}", spare), 4, f"{_RETRY}, {_CALM}"),
        Kind(f"down-{d}", (f"{d}/sim-500", spare), 2, f"{_ONCE}, {_CALM}"),
        Kind(f"limited-{d}", (f"{d}/sim-429", spare), 1, f"{_ONCE}, {_CALM}"),
        Kind(f"nobody-{d}", (f"{d}/sim-503",), 0.5, f"{_ONCE}, {_CALM}"),
        Kind(f"hedged-{d}", (f"{d}/sim-slow5000-n5", spare), 1, f"hedge: {{after: 60ms}}, {_ONCE}, {_CALM}"),
        Kind(f"left-{d}", (f"{d}/sim-n400-pace5",), 1.5, stream=True, leaves=(2, 60)),
        Kind(f"rested-{d}", (f"{d}/sim-n20-stall{stalled}",), 1.5, stream=True, leaves=(7, 7), at_rest=True),
        Kind(f"given-up-{d}", (f"{d}/sim-n20-latency5000",), 0.5, leaves=(0, 0), at_rest=True),
    ]


KINDS = [
    *(kind for dialect in DIALECTS for kind in _kinds_of(dialect)),
    # The first target has said what the prompt takes when the second one wins.
    Kind("heard", ("a/sim-n20-pace5000", "o/sim-n7"), 1, f"hedge: {{after: 80ms}}, {_ONCE}, {_CALM}", stream=True),
    Kind("kept", ("o/sim-n8",), 8, cached=True),
    # Slow enough that who leaves is gone before its end: its usage, once sent, is another number than an estimate.
    Kind("joined", ("o/sim-n40-pace60",), 1, stream=True, leaves=(2, 9), paired=True, cached=True),
    Kind("embed", ("o/embedder",), 4),
    Kind("free", ("o/gratis",), 1),
]


def prices() -> dict[str, tuple[Decimal, Decimal, Decimal]]:
    """Dollars a million tokens by target: of the prompt, of what of it was cached, of the answer. Others are free."""
    rng = random.Random(11)
    targets = sorted({target for kind in KINDS for target in kind.targets} - {"o/gratis"})
    return {
        target: (
            Decimal(rng.randrange(1, 20_000_000)) / 1_000_000,
            Decimal(rng.randrange(1, 3_000_000)) / 1_000_000,
            Decimal(rng.randrange(1, 90_000_000)) / 1_000_000,
        )
        for target in targets
    }


def config(simulator: str, database: str, data: str) -> str:
    """The gateway's YAML."""
    lines = [
        "version: 1",
        f'server: {{database: "{database}", data: "{data}", pepper: {KEY * 3}, drain: 10s, watch: false}}',
        "providers:",
    ]
    for short, dialect in DIALECTS.items():
        lines.append(f'  {short}: {{kind: simulated, dialect: {dialect}, base_url: "{simulator}"}}')
    lines.append("models:")
    for kind in KINDS:
        name = f"{kind.name}-answer" if kind.cached else kind.name
        lines.append(f"  {name}: {{targets: [{', '.join(kind.targets)}], {kind.options}}}")
        if kind.cached:
            lines.append(f"  {kind.name}: {{pipeline: {kind.name}}}")
    lines.append("pipelines:")
    lines += [f"  {kind.name}: {{cache: answers, model: {kind.name}-answer}}" for kind in KINDS if kind.cached]
    lines += ["caches: {answers: {}}", "prices:"]
    for target, (prompt, cached, answer) in prices().items():
        lines.append(f'  {target}: {{input: "{prompt}", cache_read: "{cached}", output: "{answer}"}}')
    lines += [f"apps: {{one: {{keys: [{KEY}]}}}}", 'observe: {log: "off"}']
    return "\n".join(lines) + "\n"


def script(seed: int) -> dict[str, list[str]]:
    """What the flaky models do, call by call."""
    rng = random.Random(seed)
    faults = ("ok", "ok", "500", "429", "refuse", "n3", "reason-n4")
    return {f"flaky-{d}": [rng.choice(faults) for _ in range(FLAKY_CALLS)] + ["ok"] for d in DIALECTS}


class Traffic:
    """Draws questions."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._shares = [kind.share for kind in KINDS]

    def draw(self) -> Question:
        """The next one."""
        rng = self._rng
        kind = rng.choices(KINDS, self._shares)[0]
        text = " ".join(rng.choice(_WORDS) for _ in range(rng.randrange(1, 60)))
        if kind.name == "embed":
            texts = [text] * rng.randrange(1, 4)
            return Question(kind, PATHS["embed"], json.dumps({"model": "embed", "input": texts}).encode(), False)
        if kind.name == "kept":
            text = f"What is on page {rng.randrange(60)} of the manual {rng.randrange(40)}?"
        if kind.name == "joined":
            text = f"What is in book {rng.getrandbits(60)}?"
        stream = rng.random() < 0.5 if kind.stream is None else kind.stream
        leave_at, leave_s = b"", None
        if kind.leaves is not None:
            word = rng.randint(*kind.leaves)
            leave_at, leave_s = (b"word%d" % word, None) if word else (b"", rng.uniform(0.01, 0.2))
        surface = rng.choice(tuple(DIALECTS.values()))
        system = "Be brief." if rng.random() < 0.5 and kind.name not in ("kept", "joined") else ""
        path, body = _asked(surface, kind.name, text, system, stream)
        return Question(kind, path, json.dumps(body).encode(), stream, leave_at, leave_s)


def _asked(surface: str, model: str, text: str, system: str, stream: bool) -> tuple[str, dict[str, Any]]:
    """Path and body in one surface's dialect."""
    user = {"role": "user", "content": text}
    if surface == "openai":
        said = [{"role": "system", "content": system}, user] if system else [user]
        options = {"stream_options": {"include_usage": True}} if stream else {}
        return PATHS[surface], {"model": model, "messages": said, "stream": stream, **options}
    if surface == "anthropic":
        more = {"system": system} if system else {}
        return PATHS[surface], {"model": model, "messages": [user], "max_tokens": 500, "stream": stream, **more}
    contents: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    if system:
        contents["systemInstruction"] = {"parts": [{"text": system}]}
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model}:{verb}", contents
