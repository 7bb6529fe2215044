"""One gateway for the tests of a module, with empty caches for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cache.cached import MEMORY, YAML
from tests.live import Gateway, running_gateway
from tests.recording import Recording


@pytest.fixture(scope="module")
def gateway(recorder: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml = YAML.format(port=recorder.port, tiers=MEMORY, redis="")
    with running_gateway(yaml, tmp_path_factory.mktemp("cache")) as running:
        yield running


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "gateway" in request.fixturenames:
        running = request.getfixturevalue("gateway")
        for key in ("test-key", "other-key", "third-key"):
            assert running.request("DELETE", "/v1/cache", headers={"authorization": f"Bearer {key}"}).status == 200
