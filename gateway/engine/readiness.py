"""Readiness: whether requests can be served, and which access services are impaired.

A process is ready if it can serve at least one app. Otherwise an outage of Redis would also shut out apps that do not
need Redis. A process is not ready if it refuses every app, or if its requests would be missing from the ledger. Both
states report what is impaired. `?all` makes readiness require that every app is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from access.opening import AccessServices


def impairments(accounts: AccessServices) -> dict[str, str]:
    """The impaired parts, each with one line of text; empty if there are none."""
    parts: dict[str, str] = {}
    if accounts.ledger is not None and accounts.ledger.problem:
        parts["ledger"] = accounts.ledger.problem
    if accounts.keys is not None and (accounts.keys.problem or accounts.keys.unreadable):
        parts["keys"] = accounts.keys.status()
    if problem := accounts.counters.condition.problem:
        parts["limits"] = problem
        refused, all_apps = _refused(accounts)
        if refused:
            parts["budgets"] = (
                f"{len(refused)} of {all_apps} apps are refused, because their limits or budgets can't be counted: "
                f"{', '.join(refused[:5])}{', ...' if len(refused) > 5 else ''}"
            )
    if damaged := accounts.counters.condition.damaged:
        parts["counters"] = damaged
    return parts


def can_serve(accounts: AccessServices, *, every_app: bool = False) -> bool:
    """See the module. `every_app`: require that no app is refused."""
    if accounts.ledger is not None and accounts.ledger.in_memory_only:
        # If the process died now, requests that it served would be missing from the ledger.
        return False
    keys, directory, condition = accounts.keys, accounts.directory, accounts.counters.condition
    if keys is not None and keys.expired and directory is not None and not directory.has_other_callers:
        return False
    if not condition.problem:
        return True
    refused, all_apps = _refused(accounts)
    return not refused or (not every_app and len(refused) < all_apps)


def _refused(accounts: AccessServices) -> tuple[list[str], int]:
    directory = accounts.directory
    if directory is None:
        return [], 0
    return directory.strict_apps(money_only=accounts.counters.condition.only_money), len(
        directory.apps()
    ) + directory.is_open
