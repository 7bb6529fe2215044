"""With `-m guarantee` or `-m report`, prints the text of each such marker and whether its tests pass."""

from __future__ import annotations

import pytest

_PRINTED = ("guarantee", "report")
_SENTENCE = "sentence"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marker = config.option.markexpr
    for item in items if marker in _PRINTED else ():
        if mark := item.get_closest_marker(marker):
            # The test's report carries the text from the worker process to the process that prints.
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
        holds = set(outcomes) == {"passed"}
        counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in dict.fromkeys(outcomes))
        tests = "1 test" if len(outcomes) == 1 else f"{len(outcomes)} tests"
        terminalreporter.line(f"{area:10} {text}: {'holds' if holds else counts} ({tests})", green=holds, red=not holds)
