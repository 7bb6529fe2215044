"""Bounds the size of a query's values, and of the query itself, before it runs.

Functions that join or replace texts are harmless alone, but produce gigabytes when nested. Their growth factors are
multiplied over the complete query, as if each function used the results of all others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rag.tables.columns import SqlRefused

if TYPE_CHECKING:
    from sqlglot import Token, exp

MAX_GROWTH = 10_000
# The maximum number of nodes of a query with all names expanded.
MAX_EXPANDED = 4_000
MAX_BARE_JOINS = 4
MAX_WILDCARDS = 6
MAX_PATTERN = 200
MAX_WIDTH = 100
_NUMBERS = re.compile(r"\d{1,20}")
_WIDTH_OF_ARGUMENT = re.compile(r"\{[^{}]*:[^{}]*\{")
_BACK_REFERENCE = re.compile(r"\\[1-9gk]|\(\?P=")


def check_growth(tree: exp.Query) -> None:
    """Raises `SqlRefused` for values that could become too large and patterns that could take too long."""
    from sqlglot import exp

    growth = 1.0
    for node in tree.walk():
        if isinstance(node, exp.Replace):
            growth *= _of_replace(node)
        elif isinstance(node, exp.DPipe) and not isinstance(node.parent, exp.DPipe):
            growth *= 1 + sum(1 for _ in node.find_all(exp.DPipe))
        elif isinstance(node, (exp.Concat, exp.ConcatWs)):
            growth *= max(1, len(node.expressions))
        elif isinstance(node, (exp.Like, exp.ILike, exp.SimilarTo)):
            _check_pattern(node.expression)
        elif isinstance(node, exp.Glob):
            _check_pattern(node.expression, "*")
        elif isinstance(node, (exp.RegexpLike, exp.RegexpILike, exp.RegexpExtract, exp.RegexpReplace)):
            growth *= _of_regex(node.expression, node.args.get("replacement"))
        elif isinstance(node, exp.Format):
            growth *= _of_format(node.this)
        elif isinstance(node, exp.Hex):
            growth *= 2
        elif isinstance(node, exp.Anonymous):
            growth *= _of_call(node)
        elif isinstance(node, (exp.Pad, exp.Repeat, exp.Space, exp.NumberToStr)):
            growth *= _of_repeating(node)
        if growth > MAX_GROWTH:
            raise SqlRefused("its texts could become too large: join or replace less in one query")


def _of_replace(node: exp.Replace) -> float:
    """The growth factor of replace()."""
    from sqlglot import exp

    what, by = node.expression, node.args.get("replacement")
    if by is None:
        return 1.0
    if not (isinstance(what, exp.Literal) and isinstance(by, exp.Literal)):
        raise SqlRefused("the second and third argument of replace() must be literal texts")
    return max(1.0, math.ceil(len(str(by.this)) / max(1, len(str(what.this)))))


def _of_call(node: exp.Anonymous) -> float:
    """The growth factor of a function without its own node class."""
    name, arguments = str(node.this).lower(), node.expressions
    if name == "printf":
        return _of_format(arguments[0] if arguments else None)
    if name == "quote":
        return 2.0
    if name == "regexp_match" and len(arguments) > 1:
        return _of_regex(arguments[1], None)
    if name == "json_search" and len(arguments) > 2:
        _check_pattern(arguments[2])
    return 1.0


def _of_regex(pattern: exp.Expr, by: exp.Expr | None) -> float:
    """The growth factor of a regex function. Pattern and replacement must be literals, so that the cost is known."""
    from sqlglot import exp

    if not isinstance(pattern, exp.Literal) or not (by is None or isinstance(by, exp.Literal)):
        raise SqlRefused("regular expressions and their replacements must be literal texts")
    if len(str(pattern.this)) > MAX_PATTERN or _BACK_REFERENCE.search(str(pattern.this)):
        raise SqlRefused(f"a regular expression may have at most {MAX_PATTERN} characters and no back reference")
    return 1.0 + (len(str(by.this)) if by is not None else 0)


def _of_format(format_node: object) -> float:
    """The growth factor of printf and format: each placeholder can insert one argument, padded to its width."""
    from sqlglot import exp

    if not isinstance(format_node, exp.Literal):
        raise SqlRefused("the format of printf() and format() must be a literal text")
    text = str(format_node.this)
    # The width can't be known here if another argument contains it.
    if "*" in text or _WIDTH_OF_ARGUMENT.search(text) or any(int(each) > MAX_WIDTH for each in _NUMBERS.findall(text)):
        raise SqlRefused(f"the width in a format must be a literal number of at most {MAX_WIDTH}")
    return max(1.0, text.count("%") + text.count("{"))


def _of_repeating(node: exp.Expr) -> float:
    """The growth factor of lpad, rpad, repeat, space and MySQL's format: a literal count or width."""
    from sqlglot import exp

    times = node.this if isinstance(node, exp.Space) else node.args.get("times") or node.args.get("format")
    times = times or node.expression
    if not (isinstance(times, exp.Literal) and str(times.this).isdigit() and int(str(times.this)) <= MAX_WIDTH):
        raise SqlRefused(f"the count or width of a padded or repeated text must be a literal of at most {MAX_WIDTH}")
    return max(1.0, float(str(times.this)))


def _check_pattern(pattern: exp.Expr | None, wildcard: str = "%") -> None:
    from sqlglot import exp

    generators = (exp.Replace, exp.GroupConcat, exp.ArrayAgg, exp.Repeat, exp.Pad, exp.RegexpReplace, exp.Format)

    wildcards = 0
    for node in pattern.walk() if pattern is not None else ():
        if isinstance(node, exp.Literal):
            wildcards += str(node.this).replace(wildcard * 2, wildcard).count(wildcard)
        elif isinstance(node, generators):
            raise SqlRefused("a pattern must not be computed by replace(), repeat() or from several rows")
    if wildcards > MAX_WILDCARDS:
        raise SqlRefused(f"a pattern has {wildcards} wildcards; the limit is {MAX_WILDCARDS}")


def check_joins(tokens: Sequence[Token]) -> None:
    """Raises `SqlRefused` for too many joins without a condition: each one doubles the time to parse the text."""
    from sqlglot import TokenType

    kinds = [token.token_type for token in tokens]
    bare = kinds.count(TokenType.JOIN) - kinds.count(TokenType.ON) - kinds.count(TokenType.USING)
    if bare > MAX_BARE_JOINS:
        raise SqlRefused("it has too many joins without ON")


def check_size(tree: exp.Query) -> None:
    """Raises `SqlRefused` if expanding names and stars would make it too large, as in `a + a AS b, b + b AS c`."""
    from sqlglot import exp

    stars = 1
    for select in tree.find_all(exp.Select):
        joins = select.args.get("joins") or ()
        if any(each.is_star for each in select.expressions):
            stars *= 1 + len(joins)
        sizes: dict[str, int] = {}
        total = 0
        for each in select.expressions:
            size = _expanded_size(each, sizes)
            total += size
            if isinstance(each, exp.Alias):
                sizes[each.alias.lower()] = size
        for key, part in select.args.items():
            if key not in ("expressions", "from_", "joins", "with_"):
                total += sum(_expanded_size(each, sizes) for each in (part if isinstance(part, list) else [part]))
        if total > MAX_EXPANDED or stars > MAX_EXPANDED // 10:
            raise SqlRefused("it becomes too large when its aliases are expanded: use fewer aliases")


def _expanded_size(part: object, sizes: dict[str, int]) -> int:
    from sqlglot import exp

    if not isinstance(part, exp.Expression):
        return 0
    return sum(
        sizes.get(node.name.lower(), 1) if isinstance(node, exp.Column) and not node.table else 1
        for node in part.walk()
    )
