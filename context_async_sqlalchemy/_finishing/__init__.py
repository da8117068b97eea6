"""How a unit of work ends: flush, commit or roll back, close."""
