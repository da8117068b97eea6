"""The drivers' options as docs/pgbouncer.md gives them; a test compares the two."""

from typing import Any

ASYNCPG: dict[str, Any] = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": str,
}
PSYCOPG: dict[str, Any] = {"prepare_threshold": None}
