"""What every run has: shared fixtures, the quick set, and the guarantees, reports and skips at its end."""

from __future__ import annotations

pytest_plugins = [
    "tests.plugins.gateways",
    "tests.plugins.quick",
    "tests.plugins.sentences",
    "tests.plugins.servers",
    "tests.plugins.skips",
    "tests.plugins.workers",
]
