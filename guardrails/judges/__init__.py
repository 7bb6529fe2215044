"""Guardrails that need the complete answer: format, completeness, groundedness, consistency, and a judge model."""
