"""What only the pytest plugin does."""
