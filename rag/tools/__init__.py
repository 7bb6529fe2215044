"""Read-only tools that a model may call to fetch its own context."""
