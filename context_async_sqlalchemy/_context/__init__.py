"""A unit of work: its sessions, its rules, and which one is current."""
