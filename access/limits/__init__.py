"""How much a caller may take: limits and budgets, counted in memory, SQLite or Redis."""
