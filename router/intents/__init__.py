"""Routing by rules, by intents learned from examples, and by difficulty."""
