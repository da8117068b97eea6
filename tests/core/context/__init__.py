"""Tests of _context."""
