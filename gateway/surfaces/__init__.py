"""HTTP in: one module per family of endpoints, raw ASGI where it is hot."""
