"""The admin API: what administrators do over HTTP, below `/admin` or on a port of its own."""
