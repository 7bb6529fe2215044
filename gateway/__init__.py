"""The one HTTP endpoint: surfaces, dialects, providers and the path between them."""

__version__ = "0.1.0"
