"""Whether requests can be served, and what of access does not do all that it should.

A process is ready as long as it can serve anybody, for else an outage of Redis would keep even those out who need
none; it is not where it refuses everybody, or what it serves would be in no ledger. What is wrong is named in both
cases, and whoever wants to send requests only to where every app is served asks for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from access.opening import AccessServices


def impaired(accounts: AccessServices) -> dict[str, str]:
    """What does not do all that it should, by part, each in a line for people; empty where all is well."""
    found: dict[str, str] = {}
    if accounts.ledger is not None and accounts.ledger.problem:
        found["ledger"] = accounts.ledger.problem
    if accounts.keys is not None and (accounts.keys.problem or accounts.keys.unreadable):
        found["keys"] = accounts.keys.status()
    if problem := accounts.counters.condition.problem:
        found["limits"] = problem
        refused, all_apps = _refused(accounts)
        if refused:
            found["budgets"] = (
                f"{len(refused)} of {all_apps} apps are refused, for their limits or budgets can't be counted: "
                f"{', '.join(refused[:5])}{', ...' if len(refused) > 5 else ''}"
            )
    if damaged := accounts.counters.condition.damaged:
        found["counters"] = damaged
    return found


def can_serve(accounts: AccessServices, *, everybody: bool = False) -> bool:
    """See the top. `everybody`: whether no app is refused."""
    if accounts.ledger is not None and accounts.ledger.in_memory_only:
        # What is served now would be in no ledger if this process died.
        return False
    keys, directory, condition = accounts.keys, accounts.directory, accounts.counters.condition
    if keys is not None and keys.expired and directory is not None and not directory.knows_callers:
        return False
    if not condition.problem:
        return True
    refused, all_apps = _refused(accounts)
    return not refused or (not everybody and len(refused) < all_apps)


def _refused(accounts: AccessServices) -> tuple[list[str], int]:
    directory = accounts.directory
    if directory is None:
        return [], 0
    return directory.strict_apps(money_only=accounts.counters.condition.only_money), len(
        directory.apps()
    ) + directory.is_open
