"""Every skip is printed with its reason at the end of a run. In CI a skip fails, unless the test does not apply."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from typing import NoReturn, TypeVar

import pytest

DOES_NOT_APPLY = "does not apply: "
_SKIPPED = "Skipped: "

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def does_not_apply(reason: str) -> NoReturn:
    """Skips a case that has nothing to test, on every machine. What a machine lacks is a plain `pytest.skip`."""
    pytest.skip(DOES_NOT_APPLY + reason)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr
    return str(told[2] if isinstance(told, tuple) else told).removeprefix(_SKIPPED)


def _judged(report: Report) -> Report:
    is_skip = report.skipped and not hasattr(report, "wasxfail")
    if os.environ.get("CI") and is_skip and not _reason(report).startswith(DOES_NOT_APPLY):
        report.longrepr = f"CI skips nothing: {_reason(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _judged((yield))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", ())
    counts = Counter((report.nodeid.partition("[")[0], _reason(report)) for report in skipped)
    if not counts:
        return
    terminalreporter.section("skipped")
    for (test, reason), count in sorted(counts.items()):
        terminalreporter.line(f"{count:3} {test}: {reason}")
