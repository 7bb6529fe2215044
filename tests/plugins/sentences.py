"""Prints each `guarantee` or `report` with whether its tests pass, when `-m guarantee` or `-m report` asks for them."""

from __future__ import annotations

import pytest

_PRINTED = ("guarantee", "report")
_SENTENCE = "sentence"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr
    for item in items if asked in _PRINTED else ():
        if mark := item.get_closest_marker(asked):
            # With its reports it reaches the process that prints, whichever runs the test.
            item.user_properties.append((_SENTENCE, mark.args))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results: dict[tuple[str, str], list[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, (area, text) in getattr(report, "user_properties", ()):
                if name == _SENTENCE:
                    results.setdefault((area, text), []).append(outcome)
    if not results:
        return
    terminalreporter.section(f"{config.option.markexpr}s")
    for (area, text), outcomes in sorted(results.items()):
        held = set(outcomes) == {"passed"}
        told = "holds" if held else ", ".join(f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes))
        terminalreporter.line(f"{area:10} {text}: {told} ({len(outcomes)} tests)", green=held, red=not held)
