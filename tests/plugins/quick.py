"""`--quick` runs the tests for every save: those in tests/unit and tests/architecture without the mark `slow`."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FOLDERS = ("architecture", "unit")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="tests/unit and tests/architecture, without those marked slow"
    )


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
    slow = [item for item in items if item.get_closest_marker("slow") or not _is_in_quick_folder(item.path)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in set(slow)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.quick:
        folders = " and ".join(f"tests/{folder}" for folder in FOLDERS)
        terminalreporter.section("quick set")
        terminalreporter.line(f"Only {folders} ran, without the tests marked slow. All tests: ./gatehouse test")
