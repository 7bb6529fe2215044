"""The composition root: a configuration and what outlives a reload become an engine."""
