"""Proves that an SQL text of a model is one SELECT that reads allowed tables and columns, and nothing else.

The text is parsed (sqlglot), never searched for bad words. Every node of the tree must be of a kind that is listed in
`vocabulary`; every function too; every table and column must be one that may be read. What runs is not the text but
what is written anew from the tree, with a limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from rag.tables.columns import Allowed, Dialect, SqlRefused, check_views, fold_names, resolved, table_names
from rag.tables.growth import check_growth, check_joins, check_size
from rag.tables.vocabulary import CALLS, FUNCTIONS, NODES

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.generator import Generator

__all__ = ["Allowed", "Dialect", "SqlRefused", "prove"]
MAX_CHARACTERS = 10_000
MAX_NODES = 2_000
_NAME = re.compile(r"\w[\w ()%/.,-]{0,62}")
# Comments that some servers run, and signs that no honest query holds.
_TRICKS = re.compile(r"/\*[!+M]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def prove(sql: str, allowed: Allowed, limit: int) -> str:
    """The SELECT to run, which returns at most `limit` rows. Raises `SqlRefused`."""
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_CHARACTERS:
        raise SqlRefused(f"it is longer than {MAX_CHARACTERS} characters")
    if _TRICKS.search(sql) is not None:
        raise SqlRefused("it holds a comment that is run, a hint, or a sign that can't be seen")
    try:
        tree = _parse(sql, allowed.dialect)
        _check(tree, allowed)
        check_growth(tree)
        check_size(tree)
        tree = fold_names(tree, allowed)
        _check_tables(tree, allowed, frozenset(), top=True)
        limited = _limited(resolved(tree, allowed), limit)
        written = _generator(allowed.dialect).generate(limited)
        # What is written is what runs: it must be as good as what was read.
        if len(written) > 2 * MAX_CHARACTERS:
            raise SqlRefused("it is too long when every name in it is written out")
        again = _parse(written, allowed.dialect)
        _check(again, allowed)
        check_views(again, allowed)
    except SqlglotError as error:
        raise SqlRefused(f"it can't be read: {_first_line(error)}") from None
    except RecursionError:
        raise SqlRefused("it is nested too deeply") from None
    return written


def _generator(dialect: Dialect) -> Generator:
    """Writes trees. For MySQL sqlglot writes REGEXP_LIKE(), ->> and ANY_VALUE(), which MariaDB lacks."""
    from sqlglot import exp
    from sqlglot.dialects.dialect import Dialect as Dialects
    from sqlglot.generators.mysql import MySQLGenerator

    if dialect != "mysql":
        return Dialects.get_or_raise(dialect).generator(comments=False)

    def regexp_like(generator: Generator, node: exp.RegexpLike) -> str:
        if node.args.get("flag") is not None:
            return generator.function_fallback_sql(node)
        return f"(({generator.sql(node, 'this')}) RLIKE {generator.sql(node, 'expression')})"

    def extract(generator: Generator, node: exp.JSONExtract) -> str:
        return f"JSON_EXTRACT({generator.sql(node, 'this')}, {generator.sql(node, 'expression')})"

    def extract_text(generator: Generator, node: exp.JSONExtractScalar) -> str:
        return f"JSON_UNQUOTE(JSON_EXTRACT({generator.sql(node, 'this')}, {generator.sql(node, 'expression')}))"

    class Written(MySQLGenerator):
        TRANSFORMS: ClassVar = {
            **MySQLGenerator.TRANSFORMS,
            exp.RegexpLike: regexp_like,
            exp.JSONExtract: extract,
            exp.JSONExtractScalar: extract_text,
            exp.AnyValue: lambda generator, node: f"MAX({generator.sql(node, 'this')})",
        }

    return Written(dialect=dialect, comments=False)


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0][:300]


def _parse(sql: str, dialect: Dialect) -> exp.Query:
    import sqlglot
    from sqlglot import exp

    check_joins(sqlglot.tokenize(sql, dialect=dialect))
    # A comment behind the last semicolon is a statement of its own kind.
    parsed = sqlglot.parse(sql, dialect=dialect)
    statements = [each for each in parsed if each is not None and not isinstance(each, exp.Semicolon)]
    if len(statements) != 1:
        raise SqlRefused(f"it holds {len(statements)} statements: write one SELECT")
    tree = statements[0]
    if not isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)):
        raise SqlRefused(f"it is {tree.key.upper()}: only SELECT may run")
    return tree


def _check(tree: exp.Query, allowed: Allowed) -> None:
    """Every node and every function."""
    from sqlglot import exp

    dialect = allowed.dialect
    named = {name.lower() for table, columns in allowed.tables.items() for name in (table, *columns)}

    for count, node in enumerate(tree.walk(), 1):
        if count > MAX_NODES:
            raise SqlRefused("it is too large")
        if isinstance(node, exp.Anonymous):
            _check_call(node, dialect)
        elif type(node).__name__ not in NODES and not (isinstance(node, exp.Func) and type(node).__name__ in FUNCTIONS):
            raise SqlRefused(f"{type(node).__name__.upper()} is not allowed")
        if isinstance(node, exp.Identifier) and _NAME.fullmatch(node.name) is None and node.name.lower() not in named:
            raise SqlRefused("a name in it is made of signs that no name needs")
        if isinstance(node, exp.Qualify) and dialect != "duckdb":
            raise SqlRefused("QUALIFY is not allowed here: write a subquery with WHERE")
        _check_arguments(node)


def _check_call(node: exp.Anonymous, dialect: Dialect) -> None:
    name = str(node.this).lower()
    if name not in CALLS[dialect]:
        raise SqlRefused(f"the function {name[:60]} is not allowed")


def _check_arguments(node: exp.Expr) -> None:
    """What stands in a node's own fields and is no node."""
    from sqlglot import exp

    if isinstance(node, exp.With) and node.args.get("recursive"):
        raise SqlRefused("WITH RECURSIVE is not allowed")
    if isinstance(node, exp.Select) and any(
        node.args.get(key) for key in ("into", "locks", "hint", "kind", "laterals")
    ):
        raise SqlRefused("INTO, locks and hints are not allowed")
    if isinstance(node, exp.Table):
        others = [key for key, value in node.args.items() if value and key not in ("this", "alias", "joins")]
        if others or not isinstance(node.this, exp.Identifier):
            raise SqlRefused("only plain names of tables are allowed, without schema, function or sample")
    if isinstance(node, exp.Table) and node.args.get("alias") is not None and node.args["alias"].columns:
        raise SqlRefused("a table's columns keep their names: write AS behind a column")
    if isinstance(node, exp.Join) and node.args.get("method"):
        raise SqlRefused(f"{node.args['method']} JOIN is not allowed: write JOIN with ON")
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
        raise SqlRefused("only the types of the language are allowed")
    if isinstance(node, exp.Limit) and not isinstance(node.expression, exp.Literal):
        raise SqlRefused("LIMIT must be a number")
    if isinstance(node, exp.Literal) and len(str(node.this)) > 1000:
        raise SqlRefused("a text in it is too long")


def _check_tables(node: exp.Expr, allowed: Allowed, named: frozenset[str], *, top: bool = False) -> None:
    """Every table is allowed, or named by a WITH before it. WITH may stand at the top only: names are clear then.

    Names are folded: they are compared as they are.
    """
    from sqlglot import exp

    known = table_names(allowed)
    with_ = node.args.get("with_") or node.args.get("with")
    if with_ is not None:
        if not top:
            raise SqlRefused("WITH is allowed at the beginning only")
        for cte in with_.expressions:
            _check_tables(cte.this, allowed, named)
            name = str(cte.alias)
            if name.lower() in {each.lower() for each in (*known, *named)}:
                raise SqlRefused(f"WITH {name[:60]} has the name of a table: give it another")
            named |= {name}
    for child in _children(node):
        if child is with_:
            continue
        if isinstance(child, exp.Table) and child.name not in known and child.name not in named:
            raise SqlRefused(f"there is no table {child.name[:60]}; there are {', '.join(sorted(allowed.tables))}")
        _check_tables(child, allowed, named)


def _children(node: exp.Expr) -> Iterator[Any]:
    return iter(node.iter_expressions())


def _limited(tree: exp.Query, limit: int) -> exp.Query:
    from sqlglot import exp

    given = tree.args.get("limit")
    if isinstance(given, exp.Limit) and isinstance(given.expression, exp.Literal):
        text = str(given.expression.this)
        if text.isdigit() and int(text) <= limit:
            return tree
    return tree.limit(limit)
