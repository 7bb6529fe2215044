"""Callers, their limits and budgets, and the ledger of what they used and paid."""
