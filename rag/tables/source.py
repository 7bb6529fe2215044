"""A table source: a model writes SQL for a question; the SQL is proven safe and run; the rows become a passage."""

from __future__ import annotations

import asyncio
import datetime
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from contract.messages import ChatRequest, Message, Text
from contract.passages import Passage
from contract.terms import terms
from contract.units import write_duration
from contract.work import caller_of
from rag.recent import Recent
from rag.tables.columns import Allowed, SqlRefused
from rag.tables.engines import TableEngine
from rag.tables.prover import Prover
from rag.tables.rows import Column, QueryFailed, Rows

if TYPE_CHECKING:
    from contract.answering import AskModel
    from contract.exchange import Exchange

MAX_TABLES = 8
# Cache sizes: questions with their SQL, and queries with their rows.
RECENT = 256
# The maximum size of the rows in a prompt, in UTF-8 bytes.
MAX_SHOWN = 6_000
# How long a query may exceed its time limit, including its wait in the queue, before the source gives up.
LATEST_S = 2.0
_MAX_REASON = 500
ATTEMPTS = 3
_FRAME = """You write one SQL query ({dialect}) that answers a question from the tables below. Today is {today}.
Rules: one SELECT; only these tables and columns; no schema names; give columns names that say what they are.
If the tables can't answer the question, write NONE. Write nothing but the SQL.

{schema}{hint}"""
_FENCED = re.compile(r"```(?:\w*\s)?\s*(.*?)```", re.DOTALL)
_PLAIN, _PLAIN_LOWER = re.compile(r"[A-Za-z_]\w*"), re.compile(r"[a-z_][a-z0-9_]*")
# The reasoning that some models write before their answer; some omit the opening tag.
_THOUGHTS = re.compile(r"^.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
# Words of questions that ask for figures without naming a table.
_FIGURES = frozenset(terms("average total sum count number many much revenue sales most least highest lowest top per"))


class TableSource:
    """One database with its readable tables. Implements `contract.sources.LiveSource`."""

    def __init__(
        self,
        name: str,
        engine: TableEngine,
        model: str,
        wanted: Mapping[str, Sequence[str]],
        *,
        hint: str = "",
        timeout_s: float = 5.0,
        max_rows: int = 50,
        labels: frozenset[str] = frozenset(),
        keep_s: float = 0.0,
        prover: Prover | None = None,
    ) -> None:
        """`model` writes the SQL; `hint` tells it about the tables; `labels`: see `rag.store.may_see`.

        `keep_s`: how long rows are cached, in seconds; with 0 every question queries the database.
        """
        self.name = name
        self.model = model
        self.labels = labels
        self._engine = engine
        self._prover = prover or Prover()
        self._wanted = wanted
        self._hint = hint
        self._timeout_s = timeout_s
        self._max_rows = max_rows
        self._tables: dict[str, list[Column]] = {}
        self._written: Recent[tuple[str, str], str] = Recent(RECENT)
        self._rows: Recent[str, Rows] = Recent(RECENT, keep_s)

    async def start(self) -> None:
        """Connects and reads the schema. Raises `EngineRefused`."""
        await self._engine.open()
        self._tables = await self._engine.tables(self._wanted)

    async def close(self) -> None:
        """Disconnects from the database."""
        self._prover.close()
        await self._engine.close()

    def status(self) -> str:
        """A status line."""
        count = len(self._tables)
        return f"{count} table{'' if count == 1 else 's'} ({self._engine.dialect})"

    def may_see(self, labels: frozenset[str]) -> bool:
        """Whether `labels` give access to the tables."""
        return not self.labels or not self.labels.isdisjoint(labels)

    def concerns(self, question: str) -> bool:
        """Whether the question may concern the tables: it names a table, a column or a value, or asks for figures."""
        words = set(terms(question))
        return not words.isdisjoint(_FIGURES) or any(not words.isdisjoint(self._words(table)) for table in self._tables)

    def _words(self, table: str) -> set[str]:
        columns = self._tables[table]
        named = " ".join([table, *(column.name for column in columns)]).replace("_", " ")
        return set(terms(named)) | {word for column in columns for value in column.samples for word in terms(value)}

    async def answer(self, question: str, exchange: Exchange, ask: AskModel) -> Passage | None:
        """The rows that answer the question, with their SQL; None if the tables can't or every query was rejected."""
        # The date is part of the key, because "last month" changes its meaning.
        key = (_today(), question)
        if (cached := self._written.get(key)) is not None:
            try:
                return await self._passage(cached, exchange, "cached")
            except QueryFailed:
                self._written.forget(key)
        tables = self._select(question)
        allowed = Allowed(
            self._engine.dialect, {name: tuple(column.name for column in columns) for name, columns in tables.items()}
        )
        messages = [self._instruction(tables), Message("user", (Text(question),))]
        for attempt in range(1, ATTEMPTS + 1):
            reply = await ask(self._request(messages), self.model)
            sql = _sql_of(reply)
            if sql is None:
                _record(exchange, "no answer in the tables", attempt)
                return None
            try:
                proven = await self._prover.prove(sql, allowed, self._max_rows, caller_of(exchange))
                passage = await self._passage(proven, exchange, "written", attempt)
            except (SqlRefused, QueryFailed) as error:
                _record(exchange, type(error).__name__, attempt)
                messages += [
                    Message("assistant", (Text(reply),)),
                    Message("user", (Text(f"That can't run: {str(error)[:_MAX_REASON]}. Write it again."),)),
                ]
                continue
            self._written.put(key, proven)
            return passage
        return None

    async def _passage(self, proven: str, exchange: Exchange, how: str, attempt: int = 0) -> Passage:
        """Runs a proven query, or uses its cached rows. Raises `QueryFailed`."""
        rows = self._rows.get(proven)
        from_cache = rows is not None
        if rows is None:
            rows = await self._run(proven, exchange)
            self._rows.put(proven, rows)
        left_out = f"{', more left out' if rows.more else ''}{f', {rows.cut} values cut' if rows.cut else ''}"
        _record(exchange, f"{len(rows.rows)} rows{' cached' if from_cache else ''}{left_out}, SQL {how}", attempt)
        return Passage(self.name, proven, write_rows(rows), 1.0, f"{self.name}:sql")

    async def _run(self, proven: str, exchange: Exchange) -> Rows:
        """Runs a query; gives up after the time limit even if the engine blocks. Raises `QueryFailed`."""
        try:
            async with asyncio.timeout(self._timeout_s + LATEST_S):
                return await self._engine.run(proven, self._timeout_s, self._max_rows, caller_of(exchange))
        except TimeoutError:
            raise QueryFailed(f"it took longer than {write_duration(self._timeout_s)}") from None

    def _select(self, question: str) -> dict[str, list[Column]]:
        """The tables that share the most words with the question, if there are many."""
        if len(self._tables) <= MAX_TABLES:
            return self._tables
        words = set(terms(question))
        ranked = sorted(self._tables, key=lambda table: (-len(words & self._words(table)), table))
        return {table: self._tables[table] for table in ranked[:MAX_TABLES]}

    def _instruction(self, tables: Mapping[str, list[Column]]) -> Message:
        schema = "\n".join(
            f"{self._identifier(table)}({', '.join(self._described(column) for column in columns)})"
            for table, columns in tables.items()
        )
        hint = f"\n\n{self._hint}" if self._hint else ""
        return Message(
            "system", (Text(_FRAME.format(dialect=self._engine.dialect, today=_today(), schema=schema, hint=hint)),)
        )

    def _described(self, column: Column) -> str:
        values = " ".join(f"'{value}'" for value in column.samples)
        return f"{self._identifier(column.name)} {column.kind}{f' such as {values}' if values else ''}"

    def _identifier(self, name: str) -> str:
        """A name as an SQL identifier: quoted if it has special characters, or capitals that PostgreSQL would lower."""
        plain = _PLAIN_LOWER if self._engine.dialect == "postgres" else _PLAIN
        if plain.fullmatch(name):
            return name
        quote = "`" if self._engine.dialect == "mysql" else '"'
        return f"{quote}{name.replace(quote, quote * 2)}{quote}"

    def _request(self, messages: Sequence[Message]) -> ChatRequest:
        return ChatRequest(
            dialect="openai", model=self.model, messages=tuple(messages), temperature=0.0, max_tokens=1000
        )


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def _record(exchange: Exchange, outcome: str, attempt: int) -> None:
    exchange.record("tables", time.perf_counter(), {"attempt": attempt, "outcome": outcome})


def _sql_of(reply: str) -> str | None:
    answer = _THOUGHTS.sub("", reply)
    match = _FENCED.search(answer)
    sql = (match[1] if match is not None else answer).strip()
    return None if not sql or sql.rstrip(".").upper() == "NONE" else sql


def write_rows(rows: Rows) -> str:
    """Writes rows as a Markdown table, with rows, columns and values cut to fit `MAX_SHOWN`."""
    if not rows.rows:
        return "The query returned no rows."
    columns = _fitting([_cell(name, MAX_SHOWN) for name in rows.columns])
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    size = sum(map(_bytes, lines)) + len(lines)
    longest = max(20, (MAX_SHOWN - size) // max(1, 2 * len(columns)))
    shown_rows = cut = 0
    for row in rows.rows:
        cells = [_cell(value, longest) for value in row[: len(columns)]]
        line = f"| {' | '.join(cells)} |"
        size += _bytes(line) + 1
        if size > MAX_SHOWN:
            break
        lines.append(line)
        cut += sum(cell.endswith("\u2026") for cell in cells)
        shown_rows += 1
    if rows.more or shown_rows < len(rows.rows):
        lines.append(f"(the first {shown_rows} rows)")
    if len(columns) < len(rows.columns):
        lines.append(f"(the first {len(columns)} of {len(rows.columns)} columns)")
    if cut or rows.cut:
        lines.append("(long values are cut)")
    return "\n".join(lines)


def _bytes(text: str) -> int:
    return len(text.encode(errors="replace"))


def _fitting(names: list[str]) -> list[str]:
    """The first column names that fit half of `MAX_SHOWN`."""
    size = 0
    for at, name in enumerate(names):
        size += _bytes(name) + 7
        if size > MAX_SHOWN // 2:
            return names[: max(1, at)]
    return names


def _cell(value: object, longest: int) -> str:
    """A value on one line, with `|` escaped, cut to `longest` bytes."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= longest else encoded[:longest].decode(errors="ignore") + "\u2026"
