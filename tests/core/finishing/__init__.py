"""Tests of _finishing."""
