"""How calls are run: to their end, within a time limit, in kept greenlets. Nothing here knows a database."""
