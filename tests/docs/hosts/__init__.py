"""A primary and its replica: the database moves while an application uses it."""
