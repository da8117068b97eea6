"""Tools of this repository: the servers of tests and demo, benchmarks, the pictures of the documentation."""
