"""The Prometheus adapter: metrics of pools, transactions and contexts, and the body of /metrics."""
