"""Tests of the adapters, by adapter."""
