"""PgBouncer between the library and PostgreSQL."""
