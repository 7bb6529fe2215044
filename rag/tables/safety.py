"""Proves that SQL from a model is a single SELECT that reads only allowed tables and columns.

The text is parsed (sqlglot), not searched for keywords. `vocabulary` must list the kind of every node and every
function; every table and column must be allowed. The text itself never runs: new SQL is generated from the tree, with a
limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from rag.tables.columns import Allowed, Dialect, SqlRefused, check_views, fold_names, resolve, table_names
from rag.tables.growth import check_growth, check_joins, check_size
from rag.tables.vocabulary import CALLS, FUNCTIONS, NODES

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.generator import Generator

__all__ = ["Allowed", "Dialect", "SqlRefused", "prove"]
MAX_CHARACTERS = 10_000
MAX_NODES = 2_000
_NAME = re.compile(r"\w[\w ()%/.,-]{0,62}")
# Comments that some servers execute, and control characters, which no legitimate query contains.
_HIDDEN = re.compile(r"/\*[!+M]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def prove(sql: str, allowed: Allowed, limit: int) -> str:
    """Returns the SELECT to run, which returns at most `limit` rows. Raises `SqlRefused`."""
    from sqlglot.errors import SqlglotError

    if len(sql) > MAX_CHARACTERS:
        raise SqlRefused(f"it is longer than {MAX_CHARACTERS} characters")
    if _HIDDEN.search(sql) is not None:
        raise SqlRefused("it contains an executable comment, a hint, or an invisible character: remove it")
    try:
        tree = _parse(sql, allowed.dialect)
        _check(tree, allowed)
        check_growth(tree)
        check_size(tree)
        tree = fold_names(tree, allowed)
        _check_tables(tree, allowed, frozenset(), top=True)
        limited = _limited(resolve(tree, allowed), limit)
        generated = _generator(allowed.dialect).generate(limited)
        # The generated text is what runs, so it must pass the same checks.
        if len(generated) > 2 * MAX_CHARACTERS:
            raise SqlRefused("it is too long when its names are expanded: write a shorter query")
        reparsed = _parse(generated, allowed.dialect)
        _check(reparsed, allowed)
        check_views(reparsed, allowed)
    except SqlglotError as error:
        raise SqlRefused(f"it can't be parsed: {_first_line(error)}") from None
    except RecursionError:
        raise SqlRefused("it is nested too deeply") from None
    return generated


def _generator(dialect: Dialect) -> Generator:
    """The SQL generator. For MySQL, sqlglot's uses REGEXP_LIKE(), ->> and ANY_VALUE(), which MariaDB lacks."""
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

    class PortableGenerator(MySQLGenerator):
        TRANSFORMS: ClassVar = {
            **MySQLGenerator.TRANSFORMS,
            exp.RegexpLike: regexp_like,
            exp.JSONExtract: extract,
            exp.JSONExtractScalar: extract_text,
            exp.AnyValue: lambda generator, node: f"MAX({generator.sql(node, 'this')})",
        }

    return PortableGenerator(dialect=dialect, comments=False)


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0][:300]


def _parse(sql: str, dialect: Dialect) -> exp.Query:
    import sqlglot
    from sqlglot import exp

    check_joins(sqlglot.tokenize(sql, dialect=dialect))
    # sqlglot parses a comment after the last semicolon as a statement.
    parsed = sqlglot.parse(sql, dialect=dialect)
    statements = [each for each in parsed if each is not None and not isinstance(each, exp.Semicolon)]
    if len(statements) != 1:
        raise SqlRefused(f"it contains {len(statements)} statements: write one SELECT")
    tree = statements[0]
    if not isinstance(tree, (exp.Select, exp.SetOperation, exp.Subquery)):
        raise SqlRefused(f"it is {tree.key.upper()}: only SELECT may run")
    return tree


def _check(tree: exp.Query, allowed: Allowed) -> None:
    """Checks every node and every function."""
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
            raise SqlRefused("it contains a name with unusual characters: use plain names")
        if isinstance(node, exp.Qualify) and dialect != "duckdb":
            raise SqlRefused("QUALIFY is not allowed here: write a subquery with WHERE")
        _check_arguments(node)


def _check_call(node: exp.Anonymous, dialect: Dialect) -> None:
    name = str(node.this).lower()
    if name not in CALLS[dialect]:
        raise SqlRefused(f"the function {name[:60]} is not allowed")


def _check_arguments(node: exp.Expr) -> None:
    """Checks a node's fields that are not nodes themselves."""
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
            raise SqlRefused("only plain table names are allowed, without schema, function or sample")
    if isinstance(node, exp.Table) and node.args.get("alias") is not None and node.args["alias"].columns:
        raise SqlRefused("a table alias must not rename columns: use AS after a column")
    if isinstance(node, exp.Join) and node.args.get("method"):
        raise SqlRefused(f"{node.args['method']} JOIN is not allowed: write JOIN with ON")
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
        raise SqlRefused("only built-in types are allowed")
    if isinstance(node, exp.Limit) and not isinstance(node.expression, exp.Literal):
        raise SqlRefused("LIMIT must be a number")
    if isinstance(node, exp.Literal) and len(str(node.this)) > 1000:
        raise SqlRefused("it contains a text literal of more than 1000 characters")


def _check_tables(node: exp.Expr, allowed: Allowed, named: frozenset[str], *, top: bool = False) -> None:
    """Checks that every table is allowed or defined by a preceding WITH. WITH is allowed only at the top level.

    Names must be folded: they are compared exactly.
    """
    from sqlglot import exp

    allowed_names = table_names(allowed)
    with_ = node.args.get("with_") or node.args.get("with")
    if with_ is not None:
        if not top:
            raise SqlRefused("WITH is allowed at the beginning only")
        for cte in with_.expressions:
            _check_tables(cte.this, allowed, named)
            name = str(cte.alias)
            if name.lower() in {each.lower() for each in (*allowed_names, *named)}:
                raise SqlRefused(f"WITH {name[:60]} has the name of a table: give it another")
            named |= {name}
    for child in _children(node):
        if child is with_:
            continue
        if isinstance(child, exp.Table) and child.name not in allowed_names and child.name not in named:
            raise SqlRefused(f"there is no table {child.name[:60]}; there are {', '.join(sorted(allowed.tables))}")
        _check_tables(child, allowed, named)


def _children(node: exp.Expr) -> Iterator[Any]:
    return iter(node.iter_expressions())


def _limited(tree: exp.Query, limit: int) -> exp.Query:
    from sqlglot import exp

    current = tree.args.get("limit")
    if isinstance(current, exp.Limit) and isinstance(current.expression, exp.Literal):
        text = str(current.expression.this)
        if text.isdigit() and int(text) <= limit:
            return tree
    return tree.limit(limit)
