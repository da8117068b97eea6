"""aiohttp-sqlalchemy, in an environment of its own."""
