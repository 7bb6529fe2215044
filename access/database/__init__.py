"""What is kept for good: keys that are made while it runs, the ledger, the audit. SQLite or PostgreSQL."""
