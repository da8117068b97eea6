"""The rules of the design as cases: written once, run on every framework."""
