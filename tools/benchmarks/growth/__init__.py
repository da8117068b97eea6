"""How the cost of the library grows with an application."""
