"""Resolves a query's columns: each must belong to a table of the query and be allowed.

Then every table is replaced by a SELECT of its allowed columns. So the database can't return other columns either,
however it reads the text: even a whole row (`SELECT o FROM orders o`) contains only allowed columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

Dialect: TypeAlias = Literal["sqlite", "postgres", "mysql", "duckdb"]


class SqlRefused(Exception):
    """The query may not run; the message gives the reason, for the model and the log."""


class Allowed(msgspec.Struct, frozen=True):
    """What may be read: tables with their columns, by their names in the database."""

    dialect: Dialect
    tables: Mapping[str, tuple[str, ...]]


def fold_names(tree: exp.Query, allowed: Allowed) -> exp.Query:
    """Returns a copy with each name in the dialect's canonical case, so that names compare as texts.

    PostgreSQL lowers unquoted names. SQLite and DuckDB ignore case. MySQL ignores the case of columns and, depending on
    the server, of tables: a table's name then means the allowed table of that spelling, or the only one that matches.
    """
    from sqlglot import exp
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    if allowed.dialect != "mysql":
        return normalize_identifiers(tree.copy(), dialect=allowed.dialect)
    folded = tree.copy()
    for table in list(folded.find_all(exp.Table)):
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name)))
    for name in list(folded.find_all(exp.Identifier)):
        real = None
        if isinstance(name.parent, exp.Table) and name.arg_key == "this":
            same = [each for each in allowed.tables if each.lower() == name.name.lower()]
            real = name.name if name.name in same or len(same) > 1 else next(iter(same), None)
        name.set("this", real or name.name.lower())
    return folded


def table_names(allowed: Allowed) -> dict[str, str]:
    """Maps the folded name of each allowed table to its name in the database."""
    return {(name.lower() if allowed.dialect in ("sqlite", "duckdb") else name): name for name in allowed.tables}


def _column_names(allowed: Allowed, table: str) -> dict[str, str]:
    columns = allowed.tables[table]
    return {(name if allowed.dialect == "postgres" else name.lower()): name for name in columns}


def resolve(tree: exp.Query, allowed: Allowed) -> exp.Query:
    """Checks each column of a folded query and replaces each table by its view. Raises `SqlRefused`."""
    from sqlglot import exp

    views = {folded: _column_names(allowed, real) for folded, real in table_names(allowed).items()}
    qualified = _qualified(tree, allowed.dialect, views)
    for row in qualified.find_all(exp.TableColumn):
        raise SqlRefused(f"{row.name[:60]} is a whole row of a table: name the columns")
    for star in qualified.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            raise SqlRefused("the columns of * can't be determined: name the columns")
    if any(join.args.get("using") for join in qualified.find_all(exp.Join)):
        raise SqlRefused("USING names a column that is not in both tables: use ON")
    used = _used(qualified, views)
    real = table_names(allowed)
    for table in list(qualified.find_all(exp.Table)):
        # Other names refer to WITH queries.
        if table.name in views:
            columns = views[table.name]
            wanted = used.get(id(table)) or [next(iter(columns))]
            _replace(table, real[table.name], {name: columns[name] for name in columns if name in wanted})
    return qualified


def _qualified(tree: exp.Query, dialect: Dialect, views: Mapping[str, Mapping[str, str]]) -> exp.Query:
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.schema import MappingSchema

    table_columns: dict[str, object] = {table: dict.fromkeys(columns, "TEXT") for table, columns in views.items()}
    schema = MappingSchema(table_columns, dialect=dialect, normalize=False)
    qualified: Any = qualify(
        tree,
        dialect=dialect,
        schema=schema,
        expand_stars=True,
        validate_qualify_columns=True,
        quote_identifiers=True,
    )
    return qualified  # type: ignore[no-any-return]


def _used(tree: exp.Query, views: Mapping[str, Mapping[str, str]]) -> dict[int, list[str]]:
    """The columns that the query reads, by table node. Raises `SqlRefused` for a column that no table has."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    used: dict[int, list[str]] = {}
    resolved: set[int] = set()
    for scope in traverse_scope(tree):
        sources = {name: node for name, node in scope.references if name in scope.sources}
        for column in scope.columns:
            if id(column) in resolved or column.table not in sources:
                continue
            source = scope.sources[column.table]
            names = views[source.name] if isinstance(source, exp.Table) else _outputs(source)
            if column.name not in names:
                raise SqlRefused(f"{column.table[:60]} has no column {column.name[:60]}")
            resolved.add(id(column))
            if isinstance(source, exp.Table):
                used.setdefault(id(source), []).append(column.name)
    for column in tree.find_all(exp.Column):
        if id(column) not in resolved and not _names_output(column):
            raise SqlRefused(f"{column.sql()[:60]} is not a column of these tables")
    return used


def _outputs(source: Scope) -> list[str]:
    query: Any = source.expression
    return list(query.named_selects)


def _names_output(column: exp.Column) -> bool:
    """Whether the name refers to an output column in ORDER BY or DISTINCT ON.

    On its own it does in every database. Within an expression some databases read it as a row if a table has that name.
    """
    from sqlglot import exp

    place = column.find_ancestor(exp.Order, exp.Distinct, exp.Query)
    if column.table or not isinstance(place, (exp.Order, exp.Distinct)):
        return False
    query = place.parent
    if not isinstance(query, exp.Query) or column.name not in query.named_selects:
        return False
    if isinstance(column.parent, exp.Ordered):
        return True
    sources = {name.lower() for name in _sources_of(query)}
    return not isinstance(query, exp.SetOperation) and column.name.lower() not in sources


def _sources_of(query: exp.Query) -> Iterator[str]:
    from sqlglot import exp

    for part in (query.args.get("from_"), *(query.args.get("joins") or ())):
        for source in part.find_all(exp.Table, exp.Subquery) if part is not None else ():
            yield source.alias_or_name


def _replace(table: exp.Table, real: str, columns: Mapping[str, str]) -> None:
    """Replaces the table by a SELECT of `columns`, under the names that the query uses."""
    from sqlglot import exp

    read: list[exp.Expr] = []
    for name, of_database in columns.items():
        column = exp.column(exp.to_identifier(of_database, quoted=True))
        read.append(column if name == of_database else exp.alias_(column, name, quoted=True))
    inner = exp.Table(this=exp.to_identifier(real, quoted=True))
    view = exp.select(*read, copy=False).from_(inner, copy=False).subquery(copy=False)
    view.set("alias", table.args.get("alias"))
    view.set("joins", table.args.get("joins"))
    table.replace(view)


def check_views(tree: exp.Query, allowed: Allowed) -> None:
    """Checks that the generated SQL reads tables only by selecting allowed columns by name. Raises `SqlRefused`."""
    from sqlglot import exp

    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name in named:
            continue
        view = table.find_ancestor(exp.Select)
        columns = [each.unalias() for each in view.expressions] if view is not None else []
        plain = view is not None and {key for key, value in view.args.items() if value} == {"expressions", "from_"}
        if not plain or not all(
            isinstance(each, exp.Column) and not each.table and each.name in allowed.tables.get(table.name, ())
            for each in columns
        ):
            raise SqlRefused(f"the use of {table.name[:60]} can't be proven safe: write a simpler query")
