"""Checks that a parsed text is an SQL statement: a bare word also parses, as a column, and two words as an alias."""

from __future__ import annotations

from sqlglot import exp

_STATEMENTS = (
    exp.Query, exp.Values, exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter,
    exp.TruncateTable, exp.Set, exp.Use, exp.Describe, exp.Summarize, exp.Pragma, exp.Show, exp.Grant, exp.Revoke,
    exp.Transaction, exp.Commit, exp.Rollback, exp.Copy, exp.Attach, exp.Detach, exp.Analyze, exp.Kill,
)  # fmt: skip
# Functions without brackets, which look like columns.
_NO_COLUMNS = frozenset({
    "user", "session_user", "system_user", "current_role", "current_catalog", "current_schema", "sysdate",
    "systimestamp", "localtime", "localtimestamp", "rownum", "current_path",
})  # fmt: skip


def statement_problem(tree: exp.Expr) -> str:
    """Why a parsed text is not a valid statement; empty if it is one."""
    if not isinstance(tree, _STATEMENTS):
        return "it is not an SQL statement"
    if isinstance(tree, exp.Update) and not tree.args.get("expressions"):
        return "an UPDATE sets no columns"
    if isinstance(tree, exp.Insert) and tree.args.get("expression") is None and not tree.args.get("default"):
        return "an INSERT has no values"
    if isinstance(tree, exp.Copy) and not tree.args.get("files"):
        return "a COPY names no file"
    if isinstance(tree, exp.Use) and isinstance(tree.this, exp.Table) and tree.this.alias:
        return "a USE has two names"
    if isinstance(tree, exp.Select) and not tree.expressions and not (tree.args.get("from") or tree.args.get("from_")):
        return "a SELECT has no columns"
    selects = [each for each in tree.find_all(exp.Select) if each.parent_select is None]
    if isinstance(tree, exp.Query) and any(_lacks_table(each) for each in selects):
        return "it selects columns without a table"
    return ""


def _lacks_table(select: exp.Select) -> bool:
    """Whether a SELECT names columns but no table."""
    if any(select.args.get(name) for name in ("from", "from_", "joins", "laterals")):
        return False
    return any(
        column.parent_select is select
        and not (isinstance(column, exp.Column) and column.name.lower() in _NO_COLUMNS and not column.table)
        and not isinstance(column.parent, exp.Count)
        for column in select.find_all(exp.Column, exp.Star)
    )
