"""What commands show: whole rows without colours in a pipe, rows that fit on a terminal, names that steer nothing."""

import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.screen import has_colors, printable, progress_bar, styled, table
from tests.shown import Terminal, shown

LONG = "word " * 60


def terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "LINES"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_a_pipe_gets_a_line_for_each_row() -> None:
    rows = [("k1", LONG, "1.50"), ("日本", "[red]b[/] :smile:", "12")]
    text = shown(table(("id", "name", "cost"), rows, 2))
    head, first, second = text.splitlines()
    assert head.split() == ["id", "name", "cost"]
    assert LONG.strip() in first
    assert "[red]b[/] :smile:" in second
    # A wide letter takes two columns; numbers end alike.
    assert len(first) == len(head) == len(second) + 2
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_rows_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(table(("id", "name"), [("k1", LONG)]), terminal(monkeypatch, 60))
    assert "\x1b[1m" in text
    lines = text.splitlines()
    assert len(lines) > 5
    assert all(len(line) <= 60 for line in lines[1:])


def test_no_number_is_cut_where_a_terminal_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    row = ("1234567890", "0.000000000001", "27000000.000000000021")
    text = shown(table(("a", "b", "c"), [row], 0), terminal(monkeypatch, 20))
    assert all(number in text for number in row)


def test_no_color_and_pipes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch, 80)
    assert has_colors(stream)
    assert not has_colors(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colors(stream)
    assert shown(styled([("wrong", "red"), (" here", "bold")]), stream) == "wrong here\n"


def test_a_caret_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(styled([(LONG + "\n", ""), ("   ^", "red")]), terminal(monkeypatch, 40))
    assert text.splitlines()[0] == LONG
    assert "\x1b[31m   ^" in text


@given(st.text())
def test_no_name_steers_a_terminal(name: str) -> None:
    assert printable(name).isprintable()
    assert len(shown(table(("",), [(name,)])).splitlines()) <= 1


def test_progress_is_seen_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, seen in ((io.StringIO(), False), (terminal(monkeypatch, 80), True)):
        with progress_bar(stream) as bar:
            bar.update(bar.add_task("reading", total=8), completed=8)
        assert ("8/8" in stream.getvalue()) == seen


def test_help_does_not_wait_for_rich() -> None:
    code = "import sys, gateway.commands.cli; sys.exit('rich.console' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
