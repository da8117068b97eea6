"""Shows an application under twice the load that its pool serves, with and without ``max_wait``."""
