"""Finds personal data in texts."""
