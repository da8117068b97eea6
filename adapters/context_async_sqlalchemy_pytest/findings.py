"""What a test is told of each mistake: who made it, the numbers, the line, and the remedy."""

from dataclasses import dataclass

from context_async_sqlalchemy.observer import NO_ROUTE


@dataclass(frozen=True, slots=True)
class HeldIdle:
    """A connection that was held idle for longer than the limit.

    Attributes:
        route: the route of the request, or ``NO_ROUTE``.
        pool: the name of the pool.
        held: the seconds of the hold.
        idle: the seconds of the hold in which the driver did nothing.
        limit: the limit in seconds.
        awaited: the place that was awaited for the longest part of ``idle``, and the seconds of that part.

    """

    route: str
    pool: str
    held: float
    idle: float
    limit: float
    awaited: tuple[str, float] | None

    def __str__(self) -> str:
        if self.awaited is None:
            where = (
                "No await was seen meanwhile: the code between the statements computed, or blocked the event loop, or "
                "the task that had taken the connection has ended."
            )
        else:
            place, seconds = self.awaited
            where = f"For {seconds:.3f} s of them the code awaited at\n    {place}"
        return (
            f"Held idle: {_who(self.route)} held a connection of pool {self.pool!r} for {self.held:.3f} s. In "
            f"{self.idle:.3f} s of them it did not use the connection, and the limit is {self.limit:g} s. {where}\n"
            "    Give the connection back before slow work: await commit_db_session(connection)"
        )


@dataclass(frozen=True, slots=True)
class NestedCheckout:
    """A checkout of a request or a job that holds a connection of the same pool.

    Attributes:
        route: the route of the request, or ``NO_ROUTE``.
        pool: the name of the pool.
        place: where the second connection was checked out.

    """

    route: str
    pool: str
    place: str

    def __str__(self) -> str:
        return (
            f"Nested checkout: {_who(self.route)} held a connection of pool {self.pool!r}, and checked out another "
            f"one at\n    {self.place}\n"
            "    As many of these at once as the pool has connections wait for each other until the time-out. Give the "
            "first one back before (await commit_db_session(connection)), or do all on one session"
        )


@dataclass(frozen=True, slots=True)
class LateTask:
    """A use of a context that had ended.

    Attributes:
        route: the route of the request, or ``NO_ROUTE``; None if it is not known.
        task: the name of the task.
        place: where the context was used.

    """

    route: str | None
    task: str
    place: str

    def __str__(self) -> str:
        whose = "a request or a job that had ended" if self.route is None else f"{_who(self.route)}, which had ended"
        return (
            f"Late task: {self.task} used the database context of {whose}, at\n    {self.place}\n"
            "    Give the task a context of its own: asyncio.create_task(run_in_new_ctx(function, ...))"
        )


@dataclass(frozen=True, slots=True)
class UnclosedContext:
    """A context that is still open at the end of the test.

    Attributes:
        route: the route of the request, or ``NO_ROUTE``.
        connections: how many connections it holds.
        place: where its first connection was checked out.

    """

    route: str
    connections: int
    place: str

    def __str__(self) -> str:
        return (
            f"Unclosed context: the database context of {_who(self.route)} was open at the end of the test, and held "
            f"{self.connections} connection(s). It had used its first one at\n    {self.place}\n"
            "    End it: 'async with db_context():', or reset_db_session_ctx(token) in a finally; or let the test wait "
            "for its tasks"
        )


Finding = HeldIdle | NestedCheckout | LateTask | UnclosedContext


def _who(route: str) -> str:
    return "a job (a context outside of any request)" if route == NO_ROUTE else repr(route)
