"""Draws the pictures of the documentation from what really happened: ``make pictures``."""
