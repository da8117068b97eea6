"""What the tests share: the database they look into, a TCP proxy that misbehaves, waiting for a state."""
