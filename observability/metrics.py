"""Prometheus metrics. Label values come from the config or from fixed tables, never from a caller's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from contract.access_state import AccessState
    from contract.attempt import Attempt
    from contract.exchange import Exchange
    from contract.passages import ContextQuality

DURATION_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
PER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2)
MAX_DROPPED_FIELDS = 100
STATES = ("closed", "half_open", "open")
UNKNOWN = "unknown"


class TargetState(Protocol):
    """The state of a target."""

    @property
    def target(self) -> str:
        """`provider/model`."""
        ...

    @property
    def state(self) -> str:
        """One of STATES."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        ...


class Metrics:
    """All metrics, in their own registry."""

    def __init__(
        self,
        version: str,
        health: Callable[[], Iterable[TargetState]],
        in_flight: Mapping[str, int],
        dropped: Callable[[], int],
        quality: Mapping[str, ContextQuality] | None = None,
        accounts: Callable[[], AccessState | None] = lambda: None,
    ) -> None:
        """`in_flight` (by surface), `quality` (by pipeline) and the functions are read at each scrape."""
        registry = self._registry = CollectorRegistry()
        self._counters = _Counters(registry)
        self._histograms = _Histograms(registry)
        self._dropped_fields: set[str] = set()
        self._by_request: dict[tuple[str, ...], Counter] = {}
        self._by_model: dict[tuple[str, str], _PerModel] = {}
        self._by_target: dict[str, tuple[Histogram, dict[str, Counter]]] = {}
        Gauge("gatehouse_build_info", "The running version.", ["version"], registry=registry).labels(version).set(1)
        registry.register(_Live(health, in_flight, dropped, quality if quality is not None else {}, accounts))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

    def observe(self, exchange: Exchange) -> None:
        """Counts one request."""
        app = exchange.caller.app if exchange.caller is not None else UNKNOWN
        model = exchange.model if exchange.route else UNKNOWN
        key = (app, exchange.surface, model, exchange.outcome, str(exchange.status))
        counter = self._by_request.get(key)
        if counter is None:
            counter = self._by_request[key] = self._counters.requests.labels(*key)
        counter.inc()
        per_model = self._by_model.get((app, model))
        if per_model is None:
            per_model = self._by_model[app, model] = _PerModel(self._counters, self._histograms, app, model)
        per_model.observe(exchange)
        self._observe_attempts(exchange, model)
        if exchange.findings:
            self._observe_findings(exchange)
        if exchange.cost:
            self._counters.cost.labels(model, app).inc(float(exchange.cost))
        if exchange.unpriced:
            self._counters.unpriced.labels(model).inc()
        if exchange.cache is not None:
            self._counters.recalls.labels(model, exchange.cache.kind).inc()
        if exchange.error:
            self._counters.errors.labels(exchange.error, model).inc()
        if exchange.outcome == "interrupted":
            self._counters.interrupted.labels(model).inc()
        elif exchange.outcome == "cancelled":
            self._counters.disconnects.labels(model).inc()

    def _observe_findings(self, exchange: Exchange) -> None:
        for finding in exchange.findings:
            shadow = "true" if finding.shadow else "false"
            labels = (finding.guardrail, finding.rule, finding.action, finding.stage, shadow)
            self._counters.findings.labels(*labels).inc(finding.count)

    def _observe_attempts(self, exchange: Exchange, model: str) -> None:
        for attempt in exchange.attempts:
            found = self._by_target.get(attempt.target)
            if found is None:
                found = self._by_target[attempt.target] = (
                    self._histograms.attempt.labels(attempt.target),
                    {},
                )
            durations, results = found
            result = attempt.error or "ok"
            counter = results.get(result)
            if counter is None:
                counter = results[result] = self._counters.attempts.labels(attempt.target, result)
            counter.inc()
            durations.observe((attempt.ended or exchange.ended) - attempt.started)
            if attempt.reason == "retry":
                self._counters.retries.labels(model).inc()
            elif attempt.reason == "fallback":
                self._counters.fallbacks.labels(model).inc()
            elif attempt.reason == "hedge":
                self._counters.hedges.labels(model).inc()
            if attempt.losses:
                self._count_dropped_params(attempt)

    def _count_dropped_params(self, attempt: Attempt) -> None:
        for param in attempt.losses:
            # Arbitrary field names from callers must not grow the registry.
            known = param.field in self._dropped_fields or len(self._dropped_fields) < MAX_DROPPED_FIELDS
            name = param.field if known and len(param.field) < 64 else "other"
            self._dropped_fields.add(name)
            self._counters.dropped_params.labels(name).inc()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Body and content type, in the format that `accept` prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Counters:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: list[str]) -> Counter:
            return Counter(f"gatehouse_{name}", text, labels, registry=registry)

        self.requests = counter("requests", "Requests by outcome.", ["app", "surface", "model", "outcome", "code"])
        self.attempts = counter(
            "attempts", "Calls to targets by result: ok, or the kind of error.", ["target", "result"]
        )
        self.cost = counter("cost_usd", "Cost of requests in US dollars.", ["model", "app"])
        self.unpriced = counter("unpriced_requests", "Requests to a target without a known price.", ["model"])
        self.recalls = counter("cache_requests", "Requests to pipelines with a cache.", ["model", "result"])
        self.errors = counter("errors", "Requests that ended in an error, by kind.", ["kind", "model"])
        self.retries = counter("retries", "Retries on the same target.", ["model"])
        self.fallbacks = counter("fallbacks", "Calls to a fallback target.", ["model"])
        self.hedges = counter("hedges", "Hedged calls, because the first was slow.", ["model"])
        self.interrupted = counter("interrupted_streams", "Streams that failed after the first token.", ["model"])
        self.disconnects = counter("client_disconnects", "Clients that disconnected early.", ["model"])
        self.dropped_params = counter("dropped_params", "Request fields that a target does not support.", ["field"])
        self.findings = counter(
            "guardrail_findings",
            "Findings of guardrails by action; `failed` if a guardrail failed.",
            ["guardrail", "rule", "action", "stage", "shadow"],
        )
        self.tokens = counter("tokens", "Tokens as reported by providers.", ["direction", "model", "app"])


class _Histograms:
    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"gatehouse_{name}", text, labels, buckets=buckets, registry=registry)

        self.duration = histogram("request_duration_seconds", "Duration of requests.", ["model", "app"], DURATION_S)
        self.first = histogram(
            "time_to_first_token_seconds", "Time to the first token of streams.", ["model", "app"], DURATION_S
        )
        self.per_token = histogram(
            "time_per_output_token_seconds", "Time between output tokens of streams.", ["model", "app"], PER_TOKEN_S
        )
        self.overhead = histogram(
            "overhead_seconds", "Time of requests not spent waiting for a target.", ["model", "app"], OVERHEAD_S
        )
        self.attempt = histogram("attempt_duration_seconds", "Duration of calls to targets.", ["target"], DURATION_S)


class _PerModel:
    """The metrics of one app and model, looked up once."""

    __slots__ = ("_app", "_duration", "_first", "_model", "_overhead", "_per_token", "_tokens", "_tokens_by")

    def __init__(self, counters: _Counters, histograms: _Histograms, app: str, model: str) -> None:
        self._app = app
        self._model = model
        self._duration = histograms.duration.labels(model, app)
        self._first = histograms.first.labels(model, app)
        self._per_token = histograms.per_token.labels(model, app)
        self._overhead = histograms.overhead.labels(model, app)
        self._tokens = counters.tokens
        self._tokens_by: dict[str, Counter] = {}

    def observe(self, exchange: Exchange) -> None:
        self._duration.observe(exchange.ended - exchange.started)
        if exchange.attempts:
            self._overhead.observe(exchange.overhead_s(exchange.ended))
        usage = exchange.usage
        if exchange.stream and exchange.first_byte:
            self._first.observe(exchange.first_byte - exchange.started)
            if usage is not None and usage.output > 1:
                self._per_token.observe((exchange.ended - exchange.first_byte) / (usage.output - 1))
        # Cached and shared responses use no tokens of their own.
        spent = exchange.cache is None or exchange.cache.kind in ("miss", "off")
        if usage is not None and spent:
            self._count("input", usage.input)
            self._count("output", usage.output)
            self._count("cache_read", usage.cache_read)
            self._count("cache_write", usage.cache_write)
            self._count("reasoning", usage.reasoning)

    def _count(self, direction: str, tokens: int) -> None:
        if tokens <= 0:
            return
        counter = self._tokens_by.get(direction)
        if counter is None:
            counter = self._tokens_by[direction] = self._tokens.labels(direction, self._model, self._app)
        counter.inc(tokens)


class _Live:
    """Metrics that are read at the moment of a scrape."""

    def __init__(
        self,
        health: Callable[[], Iterable[TargetState]],
        in_flight: Mapping[str, int],
        dropped: Callable[[], int],
        quality: Mapping[str, ContextQuality],
        accounts: Callable[[], AccessState | None],
    ) -> None:
        self._quality = quality
        self._accounts = accounts
        self._health = health
        self._in_flight = in_flight
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        state = GaugeMetricFamily(
            "gatehouse_breaker_state", "1 for the current state of a target's breaker.", labels=["target", "state"]
        )
        calls = GaugeMetricFamily("gatehouse_target_in_flight", "Calls to a target in flight.", labels=["target"])
        for target in self._health():
            for name in STATES:
                state.add_metric([target.target, name], float(target.state == name))
            calls.add_metric([target.target], target.in_flight)
        requests = GaugeMetricFamily("gatehouse_in_flight", "Requests in flight.", labels=["surface"])
        for surface, count in self._in_flight.items():
            requests.add_metric([surface], count)
        dropped = CounterMetricFamily(
            "gatehouse_telemetry_dropped", "Spans and request records that were not delivered."
        )
        dropped.add_metric([], self._dropped())
        yield from (state, calls, requests, dropped)
        if (accounts := self._accounts()) is not None:
            yield from _accounted(accounts)
        if self._quality:
            yield from self._judged()

    def _judged(self) -> Iterator[Metric]:
        relevance = SummaryMetricFamily(
            "gatehouse_context_relevance", "The share of relevant passages, on a sample.", labels=["pipeline"]
        )
        precision = SummaryMetricFamily(
            "gatehouse_context_precision", "How high relevant passages rank, on a sample.", labels=["pipeline"]
        )
        failed = CounterMetricFamily(
            "gatehouse_context_unjudged", "Samples without a usable judgement.", labels=["pipeline"]
        )
        for pipeline, quality in self._quality.items():
            relevance.add_metric([pipeline], quality.judged, quality.relevance)
            precision.add_metric([pipeline], quality.judged, quality.precision)
            failed.add_metric([pipeline], quality.failed)
        yield from (relevance, precision, failed)


def _accounted(accounts: AccessState) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "gatehouse_ledger_waiting_bytes", "Bytes of the ledger's journal that are not in the database yet.",
        accounts.ledger_waiting_bytes,
    )  # fmt: skip
    yield CounterMetricFamily(
        "gatehouse_ledger_lost_rows", "Rows that neither the database nor the disk could store.",
        accounts.ledger_lost_rows,
    )  # fmt: skip
    yield GaugeMetricFamily(
        "gatehouse_ledger_undecodable_lines", "Unreadable journal lines set aside: their rows are not in the database.",
        accounts.ledger_undecodable_lines,
    )  # fmt: skip
    yield GaugeMetricFamily(
        "gatehouse_key_cache_age_seconds", "Seconds since the database last confirmed cached keys; 0 while reachable.",
        accounts.keys_unconfirmed_s,
    )  # fmt: skip
