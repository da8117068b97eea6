"""Random calls of the public API against a model that predicts rows, transactions and errors."""
