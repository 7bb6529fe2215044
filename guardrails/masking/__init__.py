"""Replaces personal data in requests with tags, and restores it in answers."""
