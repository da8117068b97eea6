"""The inspector: who may look, and what is seen."""
