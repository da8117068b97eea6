"""A deterministic simulation of the whole stack.

aiohttp's server, this library, SQLAlchemy and asyncpg run unmodified on an event loop with a virtual clock and a
network of its own, against a model of PostgreSQL. Clients hang up, tasks are cancelled, COMMITs are cut before and
after their effect, refused, or answered by ROLLBACK, connects fail or stay silent, the host is switched, the
application shuts down. Invariants are checked in each turn of the loop, at each COMMIT, at each status line and at
the end of each schedule. A seed makes a schedule; a token names it, and replays it on any machine::

    make prove SCHEDULES=100000 SEED=7
    make prove REPLAY=requests:7.4711

What the simulation does not cover:

- **uvloop and other loops.** The loop is the standard library's own, with another selector.
- **Sockets.** Partial writes, full buffers, half-closed connections, TLS and name resolution do not occur.
- **Sanic's server and the ASGI servers.** Only aiohttp's server runs here; the conformance suite has the others.
- **psycopg and aiosqlite**, whose C library or thread does its own input and output.
- **PostgreSQL itself.** The model has no locks, no isolation beyond READ COMMITTED, and a dozen statements;
  ``test_model.py`` compares it with the real server.
- **Threads**, as the metrics endpoint uses one.
- **An error in answer to BEGIN, and silence in SQLAlchemy's first connect.** The library is in charge of neither;
  ``postgres/faults.py`` says what they do.
"""
