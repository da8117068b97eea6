"""Tests of behaviour, over real sockets and a real PostgreSQL."""
