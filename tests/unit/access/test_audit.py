"""The audit log: one unbroken chain however many write; whatever is changed, removed, moved or cut off is found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from access.database.audit import FIRST, SLICE, Audit, AuditCheck
from access.database.store import Database
from access.database.tables import AUDIT
from tests.databases import change, emptied

pytestmark = pytest.mark.slow

ROWS = 9
TEXTS = ("actor", "action", "subject", "detail", "previous", "hash")
AFEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def filled(database: Database) -> Audit:
    audit = Audit(database, lambda: 1000.0)
    for number in range(1, ROWS + 1):
        assert await audit.record("ada", "key.create", f"app/a{number}", {"number": number}) == number
    return audit


def test_what_is_recorded(url: str) -> None:
    async def act(database: Database) -> None:
        audit = Audit(database, lambda: 1234.5678)
        assert await audit.verify() == AuditCheck(0, f"0:{FIRST}")
        assert await audit.verify(f"0:{FIRST}") == AuditCheck(0, f"0:{FIRST}")
        assert await audit.record("ada", "key.create", "app/a") == 1
        assert await audit.record("a\0da" + "x" * 200, "k" * 100, "\ud800" + "s" * 300, {"é\0": [1, None, 0.1]}) == 2
        second, first = await audit.rows()
        assert (first.number, first.at_ms, first.actor, first.action) == (1, 1_234_567, "ada", "key.create")
        assert (first.subject, first.detail, first.previous) == ("app/a", {}, FIRST)
        assert second.previous == first.hash
        assert second.actor == "ada" + "x" * 125
        assert (second.action, second.subject) == ("k" * 64, "?" + "s" * 255)
        assert second.detail == {"é\0": [1, None, 0.1]}
        assert await audit.rows(before=2) == [first]
        assert await audit.rows(limit=1, before=10**20) == [second]
        assert await audit.rows(before=-5) == []
        assert await audit.verify() == AuditCheck(2, f"2:{second.hash}")

    emptied(url, act)


def test_a_detail_is_json(url: str) -> None:
    async def act(database: Database) -> None:
        audit = Audit(database)
        for wrong in ({"a": {1, 2}}, {"a": float("nan")}, {"a": b"x"}):
            with pytest.raises((TypeError, ValueError)):
                await audit.record("ada", "a", "b", wrong)
        assert await audit.rows() == []

    emptied(url, act)


def test_many_write_one_chain(url: str) -> None:
    async def act(database: Database) -> None:
        databases = [Database(url) for _ in range(5)]
        audits = [Audit(each) for each in databases]
        numbers = await asyncio.gather(
            *(audit.record(f"writer {writer}", "write", str(number), {"n": number})
              for number in range(12) for writer, audit in enumerate(audits))
        )  # fmt: skip
        for each in databases:
            await each.close()
        assert sorted(numbers) == list(range(1, 61))
        seen = await Audit(database).verify()
        assert (seen.count, seen.wrong, seen.why) == (60, 0, "")
        rows = await Audit(database).rows()
        assert {(row.actor, row.subject) for row in rows} == {
            (f"writer {writer}", str(number)) for writer in range(5) for number in range(12)
        }

    emptied(url, act)


@given(number=st.integers(1, ROWS), column=st.sampled_from(("at_ms", *TEXTS)))
@AFEW
def test_a_changed_row_is_found(url: str, number: int, column: str) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        head = (await audit.verify()).head
        value = 5 if column == "at_ms" else "e" * 64 if column in ("previous", "hash") else '{"number": 1}'
        await change(database, update(AUDIT).where(AUDIT.c.number == number).values({column: value}))
        seen = await audit.verify()
        assert (seen.count, seen.wrong, seen.why) == (ROWS, number, "changed")
        # Nothing is wrong with the last row's hash unless it is that which was changed.
        assert (seen.head == head) == (number < ROWS or column != "hash")
        assert len(await audit.rows()) == ROWS

    emptied(url, act)


@given(number=st.integers(1, ROWS), moved=st.booleans())
@AFEW
def test_a_removed_row_is_found(url: str, number: int, moved: bool) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        head = (await audit.verify()).head
        its = AUDIT.c.number == number
        await change(
            database, update(AUDIT).where(its).values(number=number + 100) if moved else delete(AUDIT).where(its)
        )
        if number < ROWS or moved:
            seen = await audit.verify()
            assert (seen.count, seen.wrong, seen.why) == (ROWS - (not moved), number, "missing")
        assert (await audit.verify(head)).wrong == number

    emptied(url, act)


@given(places=st.lists(st.integers(1, ROWS), min_size=2, max_size=2, unique=True))
@AFEW
def test_swapped_rows_are_found(url: str, places: list[int]) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        one, other = places
        await change(
            database,
            update(AUDIT).where(AUDIT.c.number == one).values(number=1000),
            update(AUDIT).where(AUDIT.c.number == other).values(number=one),
            update(AUDIT).where(AUDIT.c.number == 1000).values(number=other),
        )
        seen = await audit.verify()
        assert (seen.count, seen.wrong, seen.why) == (ROWS, min(places), "out of order")

    emptied(url, act)


@given(kept=st.integers(0, ROWS), known=st.integers(1, ROWS))
@AFEW
def test_a_cut_tail_is_found_with_an_earlier_head(url: str, kept: int, known: int) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        head = next(f"{row.number}:{row.hash}" for row in await audit.rows() if row.number == known)
        assert (await audit.verify(head)).wrong == 0
        await change(database, delete(AUDIT).where(AUDIT.c.number > kept))
        assert (await audit.verify()).wrong == 0
        seen = await audit.verify(head)
        assert (seen.wrong, seen.why) == ((kept + 1, "missing") if known > kept else (0, ""))
        # Who cuts it off and goes on writing is found as well.
        for _ in range(ROWS - kept):
            await audit.record("eve", "write", "again")
        seen = await audit.verify(head)
        assert (seen.count, seen.wrong, seen.why) == ((ROWS, known, "changed") if known > kept else (ROWS, 0, ""))

    emptied(url, act)


def test_a_row_before_the_first_and_a_row_that_was_hashed_again(url: str) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        async with database.engine.connect() as connection:
            rows = [dict(row._mapping) for row in await connection.execute(select(AUDIT).order_by(AUDIT.c.number))]
        await change(database, insert(AUDIT).values({**rows[2], "number": -3}))
        seen = await audit.verify()
        assert (seen.wrong, seen.why) == (-3, "out of order")
        # A chain that is whole in itself, from the third row on: only the fourth's link tells.
        await change(database, delete(AUDIT).where(AUDIT.c.number.notin_([1, 2])))
        await audit.record("eve", "key.create", "app/b", {"number": 3})
        await change(database, *(insert(AUDIT).values(row) for row in rows[3:]))
        seen = await audit.verify()
        assert (seen.wrong, seen.why) == (4, "out of order")

    emptied(url, act)


def test_long_logs_are_read_in_slices_while_others_write(url: str) -> None:
    async def act(database: Database) -> None:
        audit = Audit(database, lambda: 1.0)
        await audit.record("ada", "begin", "")
        first = (await audit.rows())[0]
        rows = list(chain(first.number, first.hash, 2 * SLICE + 5))
        await change(database, *(insert(AUDIT).values(rows[at : at + 500]) for at in range(0, len(rows), 500)))
        seen, _ = await asyncio.gather(audit.verify(), audit.record("ada", "meanwhile", ""))
        assert seen.wrong == 0
        assert seen.count in (2 * SLICE + 6, 2 * SLICE + 7)
        await change(database, update(AUDIT).where(AUDIT.c.number == 2 * SLICE + 1).values(detail='{"a":1}'))
        assert (await audit.verify()).wrong == 2 * SLICE + 1

    emptied(url, act)


def chain(number: int, previous: str, count: int) -> Iterator[dict[str, Any]]:
    """More rows, by the words of the plan and nothing of the code."""
    import hashlib

    for place in range(number + 1, number + count + 1):
        values: list[Any] = [place, 7, "ada", "write", "x", '{"n":1}', previous]
        digest = hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()
        names = ("number", "at_ms", "actor", "action", "subject", "detail", "previous")
        yield {**dict(zip(names, values, strict=True)), "hash": digest}
        previous = digest


@pytest.mark.parametrize("head", ["3", "x:" + FIRST, "3:abc", "-1:" + FIRST, f"٣:{FIRST}", "3:" + "g" * 64])
def test_a_head_that_is_none(url: str, head: str) -> None:
    async def act(database: Database) -> None:
        with pytest.raises(ValueError, match="number:hash"):
            await Audit(database).verify(head)

    emptied(url, act)


def test_bytes_in_the_place_of_text(tmp_path: Path) -> None:
    async def act(database: Database) -> None:
        audit = await filled(database)
        await change(database, AUDIT.update().where(AUDIT.c.number == 4).values(detail=b"\xff\xfe"))
        assert (await audit.verify()).wrong == 4
        assert (await audit.rows())[ROWS - 4].detail == b"\xff\xfe"

    emptied(f"sqlite:///{tmp_path / 'audit.sqlite'}", act)
