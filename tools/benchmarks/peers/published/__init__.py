"""The published library of the same name as this one, in an environment of its own."""
