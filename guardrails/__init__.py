"""Checks on requests and answers."""
