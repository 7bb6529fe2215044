"""Fixtures for a gateway whose upstream keeps what it is asked: `recorder`, `upstream`, and a module's `gateway`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Gateway, running_gateway
from tests.recording import Recording, recording_upstream


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recording]:
    """The recording upstream of a module, for fixtures of its scope; tests take `upstream`."""
    with recording_upstream() as recording:
        yield recording


@pytest.fixture
def upstream(recorder: Recording) -> Iterator[Recording]:
    """The module's recorder, without what other tests asked and without answers that they left."""
    recorder.forget()
    yield recorder
    recorder.forget()


@pytest.fixture(scope="module")
def gateway(
    request: pytest.FixtureRequest, recorder: Recording, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """One that serves the module's `YAML`, in which `{port}` is the recorder's. A module may replace or extend it."""
    yaml: str = request.module.YAML
    with running_gateway(yaml.format(port=recorder.port), tmp_path_factory.mktemp("gateway")) as running:
        yield running
