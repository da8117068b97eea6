"""What only the Sanic adapter does."""
