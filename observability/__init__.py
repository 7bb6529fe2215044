"""Turns the record of a finished request into a trace, metrics and a log line."""
