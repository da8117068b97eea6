"""Read replicas without stale reads of one's own writes, on three frameworks; see docs/hosts.md."""
