"""Ending waits for a connection: when, and what the caller gets."""
