"""Ends waits for a connection that last too long, so that an overloaded application answers and does not hang."""
