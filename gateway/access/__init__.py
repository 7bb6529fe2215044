"""Who calls: keys and what they allow."""
