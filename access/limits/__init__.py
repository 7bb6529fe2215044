"""Limits and budgets of callers, counted in memory, SQLite or Redis."""
