"""What only the aiohttp adapter does."""
