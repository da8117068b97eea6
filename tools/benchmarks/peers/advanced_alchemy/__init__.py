"""advanced-alchemy, in an environment of its own."""
