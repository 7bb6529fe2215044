"""The process: the app, the workers and their ports."""
