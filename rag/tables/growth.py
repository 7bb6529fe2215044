"""How much larger than the rows it reads a value of a query may become: bounded before the query runs.

Functions that join or replace texts are harmless one by one, and gigabytes when nested. Their growth is multiplied
over the whole query, as if each worked on what the others give.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rag.tables.columns import SqlRefused

if TYPE_CHECKING:
    from sqlglot import exp

MAX_GROWTH = 10_000
MAX_WILDCARDS = 6


def check_growth(tree: exp.Query) -> None:
    """Raises `SqlRefused` for values that could become too large, and for patterns that could take for ever."""
    from sqlglot import exp

    growth = 1.0
    for node in tree.walk():
        if isinstance(node, exp.Replace):
            growth *= _of_replace(node)
        elif isinstance(node, exp.DPipe) and not isinstance(node.parent, exp.DPipe):
            growth *= 1 + sum(1 for _ in node.find_all(exp.DPipe))
        elif isinstance(node, (exp.Concat, exp.ConcatWs)):
            growth *= max(1, len(node.expressions))
        elif isinstance(node, (exp.Like, exp.ILike)):
            _check_pattern(node.expression)
        if growth > MAX_GROWTH:
            raise SqlRefused("its texts could become too large: join or replace less in one query")


def _of_replace(node: exp.Replace) -> float:
    """What replacing can multiply a text's length by."""
    from sqlglot import exp

    what, by = node.expression, node.args.get("replacement")
    if by is None:
        return 1.0
    if not (isinstance(what, exp.Literal) and isinstance(by, exp.Literal)):
        raise SqlRefused("replace() takes its second and third argument as plain texts")
    return max(1.0, math.ceil(len(str(by.this)) / max(1, len(str(what.this)))))


def _check_pattern(pattern: exp.Expr | None) -> None:
    from sqlglot import exp

    wildcards = 0
    for node in pattern.walk() if pattern is not None else ():
        if isinstance(node, exp.Literal):
            wildcards += str(node.this).replace("%%", "%").count("%")
        elif isinstance(node, (exp.Replace, exp.GroupConcat)):
            raise SqlRefused("a pattern of LIKE can't be made by replace() or of several rows")
    if wildcards > MAX_WILDCARDS:
        raise SqlRefused(f"a pattern of LIKE has {wildcards} wildcards: at most {MAX_WILDCARDS}")
