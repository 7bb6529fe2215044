"""What a request is about, and what follows from that: rules, intents learned from examples, difficulty."""
