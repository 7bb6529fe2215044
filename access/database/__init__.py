"""The database (SQLite or PostgreSQL): created keys, the ledger and the audit log."""
