"""Selects the target of a request: order, retry, fallback, hedge, breaker. Providers are passed to the constructor."""
