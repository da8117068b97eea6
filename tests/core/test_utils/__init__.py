"""The helpers for tests of applications; rolled_back is also among the conformance cases."""
