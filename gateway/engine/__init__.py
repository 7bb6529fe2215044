"""The path of a request, and what a process holds to serve it."""
