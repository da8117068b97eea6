"""What only the ASGI adapter does."""
