"""Answers to questions that mean the same: three gates, each of which may refuse."""
