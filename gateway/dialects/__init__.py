"""Wire formats, one package each, pure."""
