"""The Prometheus adapter: what it measures of records made by hand, and what is served."""
