"""What a request costs, measured: not part of the tests."""
