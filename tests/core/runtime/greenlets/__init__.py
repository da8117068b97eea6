"""Kept greenlets."""
