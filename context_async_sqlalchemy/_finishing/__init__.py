"""The end of a unit of work: flush, commit or roll back, close."""
