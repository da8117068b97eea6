"""A small web framework, and an adapter for it: the example of docs/how-to/write-an-adapter.md."""
