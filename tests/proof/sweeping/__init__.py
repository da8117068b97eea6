"""What both sweeps share: units of work that can be told apart, points at which to strike, and the oracles."""
