"""Served applications under a mix of ends: what they keep must not grow."""
