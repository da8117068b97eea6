"""What mypy and pyright see of the public names. ``make types`` checks these files; nothing runs them.

A line that must be an error has a ``type: ignore`` with mypy's code. mypy reports it if there is no error.
"""
