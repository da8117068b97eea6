"""Opens the connections of an engine: asks for the password of each, and explains errors by notes.

A note stands below the message of an exception in its traceback. The exception itself stays the driver's, so that code
which catches it works as before.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util import await_only

PasswordSource = Callable[[], str | Awaitable[str]]
"""Returns the password of one new connection, or is a coroutine function that does."""

_LAZY_LOAD = (
    "SQLAlchemy asked the database outside of an await. An attribute of an object does that if it is read and not "
    "loaded: a relationship, or any attribute after a commit if the session maker has expire_on_commit=True "
    "(DBConnect.from_url has False). Load it before: select(...).options(selectinload(...)), await "
    "session.refresh(obj, ['name']), or session.run_sync(function) for code that reads many"
)

# Used instead of an attribute of the dialect. An engine may be given to several DBConnects.
_prepared: WeakSet[Dialect] = WeakSet()


def prepare_connects(engine: Engine, place: str, password: PasswordSource | None) -> None:
    """Make an engine ask for the password of each new connection, and explain its errors. A second call does nothing.

    Args:
        engine: the engine.
        place: the connection's name and host, for the notes.
        password: called for each new connection. None keeps the password of the URL.

    """
    dialect = engine.dialect
    if dialect in _prepared:
        return
    _prepared.add(dialect)
    open_connection = dialect.connect

    def connect(*args: Any, **params: Any) -> Any:
        try:
            if password is not None:
                params["password"] = _ask(password, place)
            return open_connection(*args, **params)
        except MissingGreenlet as error:
            error.add_note(_LAZY_LOAD)
            raise
        except Exception as error:
            error.add_note(f"This happened while {place} opened a connection.")
            raise

    # The method is replaced, because an event listener (do_connect) does not see the errors of a connect.
    dialect.connect = connect  # type: ignore[method-assign]
    event.listen(engine, "handle_error", _explain_lazy_load)


def _ask(password: PasswordSource, place: str) -> str:
    try:
        given = password()
        answer = await_only(given) if inspect.isawaitable(given) else given
    except MissingGreenlet:
        raise
    except Exception as error:
        error.add_note(f"The password= callable of {place} raised this. It is called for each new connection.")
        raise
    return _checked(answer, place)


def _checked(answer: object, place: str) -> str:
    if not isinstance(answer, str):
        # Only the type is named, because the answer may be a secret.
        raise TypeError(f"the password= callable of {place} must return a str, and returned {type(answer).__name__}")
    return answer


def _explain_lazy_load(failure: ExceptionContext) -> None:
    if isinstance(failure.original_exception, MissingGreenlet):
        # SQLAlchemy raises the second of them in place of the first, if there is one.
        (failure.sqlalchemy_exception or failure.original_exception).add_note(_LAZY_LOAD)
