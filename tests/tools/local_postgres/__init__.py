"""The embedded PostgreSQL, with real processes."""
