"""The answer cache: exact and semantic, isolated per app, policy and document version."""
