"""Tests of the programs that show the library at work."""
