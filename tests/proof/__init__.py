"""Proof that units of work end correctly: at every suspension point, at every fault, and in random schedules."""
