"""Fills the records of :mod:`~context_async_sqlalchemy.observer` from SQLAlchemy's pool and dialect."""
