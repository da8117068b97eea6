"""A unit of work: its sessions, its rules, and how the current context is found."""
