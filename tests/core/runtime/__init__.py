"""Tests of _runtime."""
