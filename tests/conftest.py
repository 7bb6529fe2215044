"""Prints what users may rely on: each `guarantee` with whether its tests pass, when `-m guarantee` asks for them."""

from __future__ import annotations

import pytest

_GUARANTEES = pytest.StashKey[dict[str, tuple[str, str]]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = {item.nodeid: mark.args for item in items if (mark := item.get_closest_marker("guarantee"))}
    config.stash[_GUARANTEES] = found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.markexpr != "guarantee":
        return
    guarantees = config.stash.get(_GUARANTEES, {})
    results: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if report.nodeid in guarantees:
                results.setdefault(guarantees[report.nodeid], []).append(outcome)
    terminalreporter.section("guarantees")
    for (area, text), outcomes in sorted(results.items()):
        held = set(outcomes) == {"passed"}
        told = "holds" if held else ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
        terminalreporter.line(f"{area:10} {text}: {told} ({len(outcomes)} tests)", green=held, red=not held)
