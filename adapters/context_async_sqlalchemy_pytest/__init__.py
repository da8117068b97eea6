"""The pytest plugin: tests fail that hold a connection idle, nest checkouts, use ended contexts or leave contexts open.

It is off until one of its options or marks is used. ``docs/how-to/test-your-application.md`` describes them.
"""

__all__: list[str] = []
