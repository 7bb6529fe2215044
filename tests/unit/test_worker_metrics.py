from __future__ import annotations

import ast
import asyncio
import math
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from contract.passages import ContextQuality
from gateway.process.worker_metrics import END, HIGHEST_GAUGES, SUMMED_GAUGES, WorkerMetrics, merge
from observability.metrics import Metrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cache", "config", "gateway", "guardrails", "observability", "rag", "router")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FORMATS = ("", OPENMETRICS)
AMOUNT, STATE = "gatehouse_in_flight", "gatehouse_breaker_state"

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['a"b', "a\\", "{x} 1", "# EOF"]
)
amounts = st.floats(0, 1e9) | st.integers(0, 10**6)
counts = st.dictionaries(names, amounts, max_size=4)


class Target(NamedTuple):
    target: str
    state: str
    in_flight: int


class Content(NamedTuple):
    """What one worker has counted."""

    counter: dict[str, float]
    amount: dict[str, float]
    state: dict[str, float]
    times: list[tuple[str, float]]


contents = st.builds(Content, counts, counts, counts, st.lists(st.tuples(names, st.floats(0, 20)), max_size=5))


def exposition(content: Content, accept: str) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("asked", "Questions.", ["by"], registry=registry)
    amount = Gauge(AMOUNT, "Amount with a \\ and\na line.", ["by"], registry=registry)
    state = Gauge(STATE, "State.", ["by"], registry=registry)
    histogram = Histogram("took", "Time.", ["by"], registry=registry, buckets=(1, 5))
    summary = Summary("gave", "Share.", ["by"], registry=registry)
    for name, value in content.counter.items():
        counter.labels(name).inc(value)
    for name, value in content.amount.items():
        amount.labels(name).set(value)
    for name, value in content.state.items():
        state.labels(name).set(value)
    for name, value in content.times:
        histogram.labels(name).observe(value)
        summary.labels(name).observe(value)
    encode, _ = choose_encoder(accept)
    return encode(registry)


def parsed(text: bytes) -> list[Metric]:
    parse = parse_openmetrics if text.endswith(b"# EOF\n") else parse_text
    return list(parse(text.decode()))


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in parsed(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def render(metrics: Metrics, accept: str) -> bytes:
    return metrics.render(accept)[0]


def ours() -> Metrics:
    quality = ContextQuality()
    return Metrics("1", lambda: [Target("a/b", "open", 2)], {"openai_chat": 3}, lambda: 1, {"docs": quality})


@given(contents, st.integers(1, 4), st.sampled_from(FORMATS))
def test_copies_multiply_what_is_counted_and_leave_states(content: Content, copies: int, accept: str) -> None:
    text = exposition(content, accept)
    merged = samples(merge([text] * copies))
    for (name, labels), value in samples(text).items():
        alone = name == STATE or name.endswith("_created")
        assert merged.pop((name, labels)) == pytest.approx(value if alone else value * copies, rel=1e-12)
    assert merged == {}


@given(st.lists(contents, min_size=1, max_size=4), st.sampled_from(FORMATS), st.randoms())
def test_the_order_of_workers_does_not_matter(workers: list[Content], accept: str, chance: Random) -> None:
    texts = [exposition(each, accept) for each in workers]
    other = sorted(texts, key=lambda _: chance.random())
    assert samples(merge(texts)) == samples(merge(other))


@given(st.lists(contents, min_size=1, max_size=4), st.sampled_from(FORMATS))
def test_each_sample_is_the_sum_the_highest_or_the_first(workers: list[Content], accept: str) -> None:
    texts = [exposition(each, accept) for each in workers]
    each = [samples(text) for text in texts]
    merged = samples(merge(texts))
    assert set(merged) == {key for found in each for key in found}
    for key, value in merged.items():
        values = [found[key] for found in each if key in found]
        rule = min if key[0].endswith("_created") else max if key[0] == STATE else math.fsum
        assert value == rule(values)


@given(contents, st.sampled_from(FORMATS))
def test_one_alone_keeps_its_lines_in_their_order(content: Content, accept: str) -> None:
    def shape(text: bytes) -> list[bytes]:
        return [line if line.startswith(b"#") else line.rsplit(b" ", 1)[0] for line in text.split(b"\n")]

    text = exposition(content, accept)
    assert shape(merge([text])) == shape(text)


@pytest.mark.parametrize("accept", FORMATS)
def test_what_the_gateway_renders(accept: str) -> None:
    text = render(ours(), accept)
    merged = merge([text, text, text])
    found = samples(merged)
    assert found[AMOUNT, (("surface", "openai_chat"),)] == 9
    assert found["gatehouse_target_in_flight", (("target", "a/b"),)] == 6
    assert found[STATE, (("state", "open"), ("target", "a/b"))] == 1
    assert found["gatehouse_build_info", (("version", "1"),)] == 1
    assert found["gatehouse_telemetry_dropped_total", ()] == 3
    for header in (b"# HELP gatehouse_in_flight", b"# TYPE gatehouse_in_flight", b"# TYPE gatehouse_build_info"):
        assert merged.count(header + b" ") == 1
    assert merged.count(b"# EOF\n") == (accept == OPENMETRICS)
    assert merged.endswith(b"# EOF\n") == (accept == OPENMETRICS)


def test_two_workers_may_see_a_target_differently() -> None:
    def seen(state: str) -> bytes:
        return render(Metrics("1", lambda: [Target("a/b", state, 0)], {}, lambda: 0), "")

    found = samples(merge([seen("open"), seen("closed")]))
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == STATE}
    assert states == {"open": 1, "closed": 1, "half_open": 0}


def test_a_worker_that_knows_more_adds_its_own() -> None:
    first = b"# TYPE a counter\na 1\n# TYPE b counter\nb 1\n"
    second = b'# TYPE c counter\nc 1\n# TYPE a counter\na 2\na{x="1"} 5 1395066363000\n'
    assert merge([first, second]) == (
        b'# TYPE a counter\na 3.0\na{x="1"} 5.0\n# TYPE b counter\nb 1.0\n# TYPE c counter\nc 1.0\n'
    )


def test_values_that_are_no_plain_numbers() -> None:
    sums = b"# TYPE a counter\na %s\n"
    assert merge([sums % b"+Inf", sums % b"1"]) == sums % b"+Inf"
    assert merge([sums % b"+Inf", sums % b"-Inf"]) == sums % b"NaN"
    assert merge([sums % b"1e308", sums % b"1e308"]) == sums % b"+Inf"
    states = b"# TYPE a gauge\na %s\n"
    assert merge([states % b"NaN", states % b"1"]) == merge([states % b"1", states % b"NaN"]) == states % b"1.0"
    assert merge([states % b"NaN"]) == states % b"NaN"
    assert merge([]) == merge([b""]) == b""


def exported(text: bytes) -> Iterator[str]:
    for line in text.decode().split("\n"):
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if kind not in ("counter", "histogram", "summary") and not name.endswith("_created"):
                yield name


def written(paths: Iterable[Path]) -> Iterator[str]:
    """Names of gauges in the source, of which some may be exported only under conditions."""
    makers = {"Gauge", "GaugeMetricFamily", "Info", "InfoMetricFamily", "Enum", "StateSetMetricFamily"}
    for path in paths:
        text = path.read_text()
        if "prometheus_client" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in makers:
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: write the name out, so that it is found"
                yield str(name.value)


def test_each_gauge_that_is_exported_is_classified() -> None:
    tables = {name.decode() for name in SUMMED_GAUGES | HIGHEST_GAUGES}
    found = set(exported(render(ours(), ""))) | set(exported(render(ours(), OPENMETRICS)))
    found |= set(written(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))
    assert len(found) >= 9
    assert found == tables, "say in gateway/process/worker_metrics.py whether it is summed or the highest stands"
    assert not SUMMED_GAUGES & HIGHEST_GAUGES


def worker(folder: Path, number: int, counted: int) -> WorkerMetrics:
    return WorkerMetrics(folder, number, lambda: count(counted))


def count(value: int) -> bytes:
    return b"# TYPE a_total counter\na_total %d\n" % value


def total(text: bytes) -> float:
    ((name, value),) = samples(text).items()
    assert name == ("a_total", ())
    return value


def test_whoever_is_asked_speaks_for_all(tmp_path: Path) -> None:
    async def run() -> None:
        workers = [worker(tmp_path, number, 10**number) for number in (1, 2, 3)]
        for each in workers:
            await each.start()
        try:
            assert [total(await each.gather()) for each in workers] == [1110] * 3
            await workers[1].close()
            assert total(await workers[0].gather()) == 1010
            again = worker(tmp_path, 2, 5)
            await again.start()
            assert total(await workers[2].gather()) == 1015
            await again.close()
        finally:
            for each in workers:
                await each.close()

    for loop in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(run())
        assert list(tmp_path.iterdir()) == []


def listening(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_workers_that_do_not_answer_are_left_out(tmp_path: Path) -> None:
    listening(tmp_path / "2.sock").close()  # killed
    silent = listening(tmp_path / "3.sock")
    broken = listening(tmp_path / "4.sock")
    whole = listening(tmp_path / "5.sock")
    (tmp_path / "notes.sock").touch()

    def speak() -> None:
        # 5 gives all it has; 4 dies in the middle of a number.
        for server, text in ((broken, b"# TYPE a_total counter\na_total 12"), (whole, count(200) + END)):
            with server.accept()[0] as connection:
                connection.sendall(text)

    async def run() -> bytes:
        metrics = worker(tmp_path, 1, 1)
        await metrics.start()
        speaking = asyncio.create_task(asyncio.to_thread(speak))
        merged = await metrics.gather()
        await speaking
        await metrics.close()
        return merged

    with silent, broken, whole:
        assert total(asyncio.run(run())) == 201


def test_it_takes_the_place_of_one_that_was_killed(tmp_path: Path) -> None:
    listening(tmp_path / "1.sock").close()

    async def run() -> bytes:
        first, second = worker(tmp_path, 1, 1), worker(tmp_path, 2, 2)
        await first.start()
        try:
            return await second.gather()
        finally:
            await first.close()

    assert total(asyncio.run(run())) == 3


def test_one_whose_rendering_fails_is_left_out(tmp_path: Path) -> None:
    def fails() -> bytes:
        raise RuntimeError("no metrics")

    async def run() -> bytes:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        first, second = WorkerMetrics(tmp_path, 1, fails), worker(tmp_path, 2, 2)
        await first.start()
        try:
            return await second.gather()
        finally:
            await first.close()

    assert total(asyncio.run(run())) == 2
