"""The services that are measured: each program serves one application of one framework until it is stopped."""
