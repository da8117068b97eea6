"""The core without a framework."""
