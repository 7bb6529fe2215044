"""Guardrails that need the whole answer: its form, its completeness, its grounds, and what another model says of it."""
