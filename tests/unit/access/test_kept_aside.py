"""Lines of journals that can't be read: each good row reaches the ledger once, each other line is kept as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.database.store import Database
from access.ledger import reports
from access.ledger.entry import VERSION, LedgerEntry, Reservation
from access.ledger.journal import Journal
from access.ledger.ledger import Ledger
from access.ledger.lines import TORN, UnreadableLine, read_journal
from access.ledger.set_aside import SetAsideLines, locked
from tests.databases import emptied
from tests.unit.access.test_journal import AT_MS, full_disk, journals, kept
from tests.unit.access.test_reports import entry
from tests.unit.access.test_reservations import reserved

KEPT = pytest.mark.guarantee(
    "money", "A journal line that cannot be read is stored unchanged in a separate file, never skipped"
)
AFEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
encode = msgspec.json.encode


def fields(line: LedgerEntry | Reservation) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(encode(line))
    return found


def of_later_version(line: LedgerEntry | Reservation, by: int = 1) -> bytes:
    """As the next version writes it, which knows more."""
    return encode({**fields(line), "version": VERSION + by, "region": "eu"})


DEFAULTED = sorted(
    {each.name for row in (LedgerEntry, Reservation) for each in msgspec.structs.fields(row) if not each.required}
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=9)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3))


@st.composite
def good_lines(draw: st.DrawFn, number: int) -> bytes:
    """A row of this version or of one before, with fields that nobody knows, and without some that have a default."""
    line = fields(entry(AT_MS, number, user=draw(st.sampled_from(("", "Zoë", "\\u0000", '"')))))
    unknown = draw(st.dictionaries(st.text(max_size=8).filter(lambda name: name not in line), JSON, max_size=3))
    gone = draw(st.sets(st.sampled_from(["attempts", "version", "line"])))
    return encode({**{name: value for name, value in line.items() if name not in gone}, **unknown})


@st.composite
def bad_lines(draw: st.DrawFn, number: int) -> bytes:
    """Garbage, half a row, a value that none has, another kind of line, a later version's, a field that is missing.

    And a byte that is no UTF-8, and a value in thousands of others.
    """
    row = entry(AT_MS, 10_000 + number)
    kind = draw(st.integers(0, 8))
    if kind == 0:
        return draw(st.binary(min_size=1, max_size=40).filter(lambda each: b"\n" not in each)) + b"\0"
    if kind == 1:
        whole = encode(row)
        return whole[: draw(st.integers(1, len(whole) - 1))]
    if kind == 2:
        by = draw(st.integers(1, 9))
        return of_later_version(row if draw(st.booleans()) else reserved(10_000 + number), by)
    if kind == 3:
        return encode({**fields(row), "line": "another"})
    if kind == 7:
        return encode({**fields(row), "user": "J~rgen"}).replace(b"~", b"\xfc")
    if kind == 8:
        return encode(row)[:-1] + b',"more":' + b"[" * 5000 + b"]" * 5000 + b"}"
    required = draw(st.sampled_from([each.name for each in msgspec.structs.fields(LedgerEntry) if each.required]))
    if kind == 4:
        return encode({name: value for name, value in fields(row).items() if name != required})
    if kind == 5:
        return encode({**fields(row), "model": "a NUL: \0"})
    return encode({**fields(row), required: [required]})


@st.composite
def journal_files(draw: st.DrawFn) -> tuple[list[bytes], list[bytes], bytes]:
    """(good lines, others, the file): in any order, the last one may have no end."""
    count = draw(st.integers(0, 8))
    good = [draw(good_lines(number)) for number in range(count)]
    bad = list(dict.fromkeys(draw(bad_lines(number)) for number in range(draw(st.integers(0, 6)))))
    lines = draw(st.permutations([*good, *bad]))
    ended = b"".join([line + b"\n" for line in lines])
    whole: bool = draw(st.booleans())
    return good, bad, ended if whole else ended[:-1]


def with_ledger(tmp_path: Path, folder: Path, act: Callable[[Ledger, Database], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        ledger = Ledger(database, folder, 100_000)
        ledger.start()
        try:
            await act(ledger, database)
        finally:
            await ledger.close()
            await database.close()

    asyncio.run(run())


@KEPT
@AFEW
@given(made=journal_files(), again=st.integers(0, 2))
def test_good_rows_arrive_once_and_other_lines_are_kept(
    made: tuple[list[bytes], list[bytes], bytes], again: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However often the adopter is killed between the database and the disk."""
    good, bad, data = made
    tmp_path = tmp_path_factory.mktemp("journal")
    folder = tmp_path / "journal"
    folder.mkdir()
    path = folder / "1-dead.journal"

    async def act(ledger: Ledger, database: Database) -> None:
        for _ in range(again + 1):
            path.write_bytes(data)
            await ledger.adopt()
        ids = [each["id"] for each in (await reports.requests(database, {}, limit=500)).rows]
        assert sorted(ids) == sorted(json.loads(line)["id"] for line in good)
        assert await kept(database) == (len(good), len(good))
        assert ledger.unreadable_lines == len(bad)

    with_ledger(tmp_path, folder, act)
    found = b"".join([each.read_bytes() for each in folder.iterdir()])
    assert not journals(folder)
    assert sorted(found.split(b"\n")[:-1]) == sorted(bad)


@KEPT
def test_a_line_of_a_later_version_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a downgrade; and the next upgrade brings all of it to the ledger."""
    folder = tmp_path / "journal"
    folder.mkdir()
    lines = [of_later_version(reserved(1)), of_later_version(entry(AT_MS, 1)), of_later_version(reserved(2))]
    (folder / "1-dead.journal").write_bytes(b"\n".join([*lines, encode(entry(AT_MS, 3)), b""]))

    async def before(ledger: Ledger, database: Database) -> None:
        await ledger.adopt()
        assert await kept(database) == (1, 1)
        assert "3 lines of journals can't be read" in ledger.problem
        assert f"{folder}/*.undecodable" in ledger.problem

    with_ledger(tmp_path, folder, before)
    assert (folder / "1-dead.undecodable").read_bytes().splitlines() == lines

    class LaterEntry(LedgerEntry, frozen=True, kw_only=True, tag_field="line", tag="row"):
        version: int = 1

    class LaterReservation(Reservation, frozen=True, kw_only=True, tag_field="line", tag="reserved"):
        version: int = 1

    monkeypatch.setattr("access.ledger.lines._ROWS", msgspec.json.Decoder(LaterEntry))
    monkeypatch.setattr("access.ledger.lines._RESERVATIONS", msgspec.json.Decoder(LaterReservation))

    async def after(ledger: Ledger, database: Database) -> None:
        await ledger.adopt()
        found = (await reports.requests(database, {})).rows
        assert {each["request_id"]: each["outcome"] for each in found} == {"r1": "ok", "r2": "unknown", "r3": "ok"}
        assert not ledger.problem

    with_ledger(tmp_path, folder, after)
    assert list(folder.iterdir()) == []


@KEPT
def test_a_line_of_ones_own_journal_that_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "journal"

    async def act(ledger: Ledger, database: Database) -> None:
        assert ledger._journal is not None
        await database.prepare()
        ledger._journal.write([entry(AT_MS, 1)])
        ledger._journal._append(b"one that the disk has spoilt\n")
        ledger._journal.write([entry(AT_MS, 2)])
        assert await ledger.flush()
        assert await kept(database) == (2, 2)
        assert ledger.unreadable_lines == 1

    with_ledger(tmp_path, folder, act)
    (aside,) = folder.iterdir()
    assert aside.read_bytes() == b"one that the disk has spoilt\n"


@KEPT
def test_a_line_that_somebody_has_mended_is_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    whole = encode(entry(AT_MS, 1))
    (folder / "1-dead.journal").write_bytes(whole[:-9] + b"\nnonsense\n")
    aside = folder / "1-dead.undecodable"

    async def act(ledger: Ledger, database: Database) -> None:
        await ledger.adopt()
        assert ledger.unreadable_lines == 2
        # As an editor does that ends no last line.
        aside.write_bytes(b"nonsense\n" + whole)
        await ledger.adopt()
        assert await kept(database) == (1, 1)
        assert aside.read_bytes() == b"nonsense\n"
        aside.unlink()
        await ledger.adopt()
        assert not ledger.problem

    with_ledger(tmp_path, folder, act)


@KEPT
@pytest.mark.parametrize("known", [500, None])
def test_a_row_that_is_mended_takes_the_place_of_the_one_of_unknown_outcome(
    tmp_path: Path, url: str, known: int | None
) -> None:
    """Its beginning could be read: so it counted at the most that it may have cost."""
    folder = tmp_path / "journal"
    folder.mkdir()
    row, other = encode(entry(AT_MS, 1, cost=7000)), encode(reserved(2, cost=9, target=""))
    lines = [encode(reserved(1, cost=known, target="")), row[:-1] + b"?", other, b""]
    (folder / "1-dead.journal").write_bytes(b"\n".join(lines))

    async def run(database: Database) -> None:
        ledger = Ledger(database, folder, 100_000)
        ledger.start()
        await ledger.adopt()
        (line,) = await reports.usage(database, ["app"])
        assert (line.requests, line.failures, line.unpriced) == (2, 2, int(known is None))
        (folder / "1-dead.undecodable").write_bytes(row)
        for _ in range(2):
            await ledger.adopt()
            lines = await reports.usage(database, ["app", "target"])
            assert {each.by[1]: (each.requests, each.failures, each.unpriced, each.input) for each in lines} == {
                "p/m": (1, 0, 0, 10),
                "": (1, 1, 0, 0),
            }
            assert sum(each.cost for each in lines) == Decimal("0.000000007") + Decimal("0.000000009")
            found = await reports.request(database, entry(AT_MS, 1).id)
            assert found is not None
            assert (found["outcome"], [each["error"] for each in found["attempts"]]) == ("ok", [""])
            # And never the other way round.
            (folder / "2-dead.journal").write_bytes(lines_of(reserved(1)))
        await ledger.close()

    emptied(url, run)


def lines_of(*lines: LedgerEntry | Reservation) -> bytes:
    return b"".join([encode(each) + b"\n" for each in lines])


def test_the_log_says_where_and_why_and_never_what(tmp_path: Path) -> None:
    name = "Anna Schmidt"
    lines = [
        encode({**fields(entry(AT_MS, 1)), "user": name, "cost": name}),
        encode({**fields(entry(AT_MS, 2)), "line": name}),
        of_later_version(entry(AT_MS, 3, user=name)),
        name.encode(),
        encode({"user": name}),
    ]
    path = tmp_path / "1-dead.journal"
    path.write_bytes(b"\n".join([*lines, encode(entry(AT_MS, 4, user=name))[:200]]))
    with structlog.testing.capture_logs() as told:
        SetAsideLines(tmp_path).keep(path, [bad for _, unreadable in read_journal(path, 2) for bad in unreadable])
    (event,) = told
    assert name not in str(told)
    assert event["lines"] == 6
    assert event["first_bytes"] == [sum(len(each) + 1 for each in lines[:count]) for count in range(6)]
    assert TORN in event["why"]
    assert f"written by version {VERSION + 1}; this version reads up to {VERSION}" in event["why"]
    assert "unexpected value at `$.cost`" in event["why"]


def test_a_row_without_the_end_of_its_line_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "1-dead.journal"
    path.write_bytes(encode(entry(AT_MS, 1)) + b"\n" + encode(entry(AT_MS, 2)))
    found = [(entries, unreadable) for entries, unreadable in read_journal(path, 500)]
    assert [each.id for entries, _ in found for each in entries] == [entry(AT_MS, 1).id, entry(AT_MS, 2).id]
    assert not any(unreadable for _, unreadable in found)


def unreadable(*lines: bytes) -> list[UnreadableLine]:
    return [UnreadableLine(0, line, "garbage") for line in lines]


def test_who_adds_while_another_reads_adds_to_another_file(tmp_path: Path) -> None:
    aside, journal = SetAsideLines(tmp_path), tmp_path / "1-2.journal"
    aside.keep(journal, unreadable(b"a"))
    with (tmp_path / "1-2.undecodable").open("rb") as file:
        assert locked(file)
        aside.keep(journal, unreadable(b"b"))
    aside.keep(journal, unreadable(b"c", b"a"))
    assert sorted(each.read_bytes() for each in tmp_path.iterdir()) == [b"a\nc\n", b"b\n"]
    assert aside.lines == 3
    assert {each.stat().st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}


def test_a_folder_or_link_of_that_name_holds_up_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    (folder / "1-dead.undecodable").mkdir(parents=True)
    (folder / "2-dead.undecodable").symlink_to(tmp_path / "elsewhere")
    for number in (1, 2, 3):
        (folder / f"{number}-dead.journal").write_bytes(b"garbage\n" + encode(entry(AT_MS, number)) + b"\n")

    async def act(ledger: Ledger, database: Database) -> None:
        await ledger.adopt()
        assert await kept(database) == (3, 3)
        assert ledger.unreadable_lines == 3

    with_ledger(tmp_path, folder, act)
    assert not (tmp_path / "elsewhere").exists()


def test_a_disk_that_is_full_keeps_the_line_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal._append(b"spoilt\n")
    journal.write([entry(AT_MS, 1)])
    aside = journal.path.with_suffix(".undecodable")
    aside.touch()
    entries, place = journal.read_batch(9)
    assert len(entries) == 1
    with full_disk(3, aside), pytest.raises(OSError, match="large"):
        journal.mark_stored(place)
    assert aside.read_bytes() == b""
    assert journal.waiting
    entries, place = journal.read_batch(9)
    assert len(entries) == 1
    journal.mark_stored(place)
    assert aside.read_bytes() == b"spoilt\n"
    assert not journal.waiting
    journal.close()


def test_a_new_field_has_a_default() -> None:
    """Lines without it are read: no field is required that 0.1.0 did not write."""
    written = json.loads(
        (Path(__file__).parents[2] / "golden/0.1.0/journal/100-dead.journal").read_text().splitlines()[1]
    )
    required = {each.name for each in msgspec.structs.fields(LedgerEntry) if each.required}
    assert required <= written.keys()
    assert {"version", "attempts"} <= set(DEFAULTED)
