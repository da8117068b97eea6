"""A small shop: an HTTP service, a load on it, and what an early release of database connections changes."""
