"""Sessions in kept greenlets work with whatever else a program uses, and with a SQLAlchemy that is not known."""

import sys
import textwrap

import pytest

from context_async_sqlalchemy._runtime.greenlets import VARIABLE
from tests.core.runtime.greenlets.programs import SESSIONS, execute

_PROGRAMS = {
    "loops one after another": "assert [greenlets(), greenlets()] == [1, 1]",
    "uvloop": "import uvloop\nassert greenlets(uvloop.run) == 1",
    "threads": """
        counts = []
        threads = [threading.Thread(target=lambda: counts.append(greenlets())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [1] * 4
    """,
    "cProfile": """
        import cProfile, io, pstats
        greenlets()
        profile = cProfile.Profile()
        profile.runcall(greenlets)
        told = io.StringIO()
        pstats.Stats(profile, stream=told).print_stats()
        assert "do_execute" in told.getvalue() and "do_commit" in told.getvalue()
    """,
    "a trace function": """
        greenlets()
        traced = set()
        def trace(frame, event, arg):
            traced.add(frame.f_code.co_name)
            return trace
        sys.settrace(trace)
        greenlets()
        sys.settrace(None)
        assert "do_execute" in traced and "do_commit" in traced
    """,
    "a listener that runs the calls of another session": """
        from sqlalchemy import event
        from sqlalchemy.util import await_only
        async def nested():
            connection = DBConnect.from_url("sqlite+aiosqlite://", name="other")
            other = await connection.create_session()
            inner = set()
            def listen(session):
                inner.add(await_only(other.scalar(text("SELECT 1"))))
            async with db_context():
                session = await db_session(connection)
                event.listen(session.sync_session, "before_commit", listen)
                await session.execute(text("SELECT 1"))
                await session.commit()
                assert (await session.execute(text("SELECT 2"))).scalar() == 2
            assert inner == {1}
            await other.close()
            await connection.close()
        asyncio.run(nested())
    """,
}
if sys.version_info >= (3, 12):
    _PROGRAMS["eager tasks"] = """
        def run(main):
            loop = asyncio.new_event_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            loop.run_until_complete(main)
            loop.close()
        assert greenlets(run) == 1

        async def made_in_a_call():
            connection = DBConnect.from_url("sqlite+aiosqlite://", name="main")
            tasks = []
            async def work():
                # A task that was made in a call may use the database once it runs by itself.
                await asyncio.sleep(0)
                async with db_context():
                    return await (await db_session(connection)).scalar(text("SELECT 1"))
            async with db_context():
                session = await db_session(connection)
                await session.run_sync(lambda _: tasks.append(asyncio.create_task(work())))
            assert await tasks.pop() == 1
            await connection.close()
        run(made_in_a_call())
    """


@pytest.mark.parametrize("program", _PROGRAMS.values(), ids=_PROGRAMS)
def test_sessions_work_with(program: str) -> None:
    assert execute(SESSIONS + textwrap.dedent(program)) == (0, "")


def test_a_variable_turns_it_off() -> None:
    assert execute(f"{SESSIONS}assert greenlets() == 2", **{VARIABLE: "0"}) == (0, "")


_UNKNOWN = """
import logging
import sqlalchemy.util.concurrency as concurrency
from sqlalchemy.ext.asyncio import session

plain = concurrency.greenlet_spawn
async def greenlet_spawn(function, *args, a_new_option=None, **kwargs):
    return await plain(function, *args, **kwargs)

import sqlalchemy.util
sqlalchemy.util.greenlet_spawn = session.greenlet_spawn = greenlet_spawn
messages = []
logger = logging.getLogger("context_async_sqlalchemy")
logger.setLevel(logging.DEBUG)
logger.addFilter(lambda record: messages.append(record.getMessage()))
"""


def test_a_sqlalchemy_that_is_not_known_is_left_alone_and_the_log_says_so_once() -> None:
    program = f"{_UNKNOWN}{SESSIONS}assert greenlets() == 2\nassert len([m for m in messages if 'greenlet' in m]) == 1"
    assert execute(program) == (0, "")
