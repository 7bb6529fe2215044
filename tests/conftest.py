"""Prints each `guarantee` or `report` with whether its tests pass, when `-m guarantee` or `-m report` asks for them."""

from __future__ import annotations

import pytest

_PRINTED = ("guarantee", "report")
_SENTENCES = pytest.StashKey[dict[str, tuple[str, str]]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr
    if asked in _PRINTED:
        found = {item.nodeid: mark.args for item in items if (mark := item.get_closest_marker(asked))}
        config.stash[_SENTENCES] = found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    sentences = config.stash.get(_SENTENCES, {})
    if not sentences:
        return
    results: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            if report.nodeid in sentences:
                results.setdefault(sentences[report.nodeid], []).append(outcome)
    terminalreporter.section(f"{config.option.markexpr}s")
    for (area, text), outcomes in sorted(results.items()):
        held = set(outcomes) == {"passed"}
        told = "holds" if held else ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
        terminalreporter.line(f"{area:10} {text}: {told} ({len(outcomes)} tests)", green=held, red=not held)
