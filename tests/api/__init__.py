"""The list of the public API."""
