"""How calls are run: to their end, within a time limit, in reused greenlets. Nothing here knows a database."""
