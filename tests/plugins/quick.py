"""`--quick` runs the tests for every save: those in tests/unit and tests/architecture without the mark `slow`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = ("architecture", "unit")
# Fixtures that start a server: what uses one is slow without a mark.
SERVERS = frozenset({"postgres_cluster", "redis"})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="tests/unit and tests/architecture, without those marked slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Properties draw a tenth of their examples, where a test does not say how many."""
    settings.register_profile("quick", max_examples=settings().max_examples // 10)
    if config.option.quick:
        settings.load_profile("quick")


def _is_in_quick_folder(path: Path) -> bool:
    return path.is_relative_to(TESTS) and path.relative_to(TESTS).parts[:1] in [(folder,) for folder in FOLDERS]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Other folders are not even imported."""
    is_below = collection_path.is_relative_to(TESTS) and collection_path != TESTS
    left_out = config.option.quick and is_below and not _is_in_quick_folder(collection_path)
    return True if left_out else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.option.quick:
        return
    left_out = {item for item in items if _is_slow(item) or not _is_in_quick_folder(item.path)}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _is_slow(item: pytest.Item) -> bool:
    needed: list[str] = getattr(item, "fixturenames", [])
    return item.get_closest_marker("slow") is not None or not SERVERS.isdisjoint(needed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.quick:
        folders = " and ".join(f"tests/{folder}" for folder in FOLDERS)
        terminalreporter.section("quick set")
        terminalreporter.line(f"Only {folders} ran, without the tests that are slow. All tests: ./gatehouse test")
