"""Tests that the tests of the plugin run: most of them make a mistake on purpose."""
