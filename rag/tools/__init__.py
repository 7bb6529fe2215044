"""Tools that read: what a model may call to fetch its own context."""
