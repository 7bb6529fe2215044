"""Upstream HTTP: connections, credentials, and the providers that use them."""
