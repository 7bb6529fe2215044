"""HTTP out: connections, credentials, and the providers made of them."""
