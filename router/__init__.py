"""Which target answers: order, retry, fallback, hedge, breaker. Providers come by constructor."""
