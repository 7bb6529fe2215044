"""Callers and their permissions: keys, tokens, and apps from the file and the database."""
