"""What pytest loads: the options and the marks. Nothing else is imported until one of them is used.

pytest loads this module in every run of every project that has the library installed, so it imports neither SQLAlchemy
nor the library itself.
"""

import pytest

from .limits import MARKS, InvalidLimitError, Limits, limits_of_item, limits_of_options, seconds_of

_WATCHING = "context_async_sqlalchemy_watching"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and settings of the same names for the configuration file."""
    group = parser.getgroup("context-async-sqlalchemy", "database sessions (context-async-sqlalchemy)")
    group.addoption(
        "--db-held-idle",
        metavar="TIME",
        type=seconds_of,
        help="fail a test in which a request or a job holds a connection for longer than this (50ms, 0.5s) without "
        "using it",
    )
    group.addoption(
        "--db-nested-checkouts",
        action="store_true",
        help="fail a test in which a request or a job checks out a connection while it holds one of the same pool",
    )
    group.addoption(
        "--db-late-tasks",
        action="store_true",
        help="fail a test in which a task uses the database context of a request or a job that has ended",
    )
    group.addoption(
        "--db-unclosed-contexts",
        action="store_true",
        help="fail a test that leaves a database context open",
    )
    parser.addini("db_held_idle", "the same as --db-held-idle")
    parser.addini("db_nested_checkouts", "the same as --db-nested-checkouts", type="bool", default=False)
    parser.addini("db_late_tasks", "the same as --db-late-tasks", type="bool", default=False)
    parser.addini("db_unclosed_contexts", "the same as --db-unclosed-contexts", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for name, help_text in MARKS.items():
        config.addinivalue_line("markers", f"{name}(max): {help_text}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin to watch if an option or a mark asks for it.

    Raises:
        pytest.UsageError: an option or a mark has no possible value.

    """
    try:
        defaults = limits_of_options(config)
        limits = {item: limits_of_item(item, defaults) for item in items} if _is_asked_for(defaults, items) else {}
    except InvalidLimitError as error:
        raise pytest.UsageError(str(error)) from None
    if any(each.is_any for each in limits.values()):
        from .watching import Watching  # noqa: PLC0415 - see the top

        config.pluginmanager.register(Watching(limits, config.rootpath), _WATCHING)


def _is_asked_for(defaults: Limits, items: list[pytest.Item]) -> bool:
    return defaults.is_any or any(mark.name in MARKS for item in items for mark in item.iter_markers())
