"""The one HTTP endpoint: surfaces, dialects, providers and the path between them."""
