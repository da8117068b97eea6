"""CPU time of the inspector's state while many sessions are open, of which a page asks once a second.

python -m tools.benchmarks.inspector
"""

import argparse
import asyncio
import json
import statistics
import time

from sqlalchemy import text

from context_async_sqlalchemy import DBConnect, db_session, run_in_new_ctx
from context_async_sqlalchemy.adapter_kit import Lifecycle
from context_async_sqlalchemy.observer import ResourceRequest
from context_async_sqlalchemy_inspector import Inspector
from tools.local_postgres import database_server

_POOL_SIZE = 20
_LOOKS = 20
_SECOND = 1.0
_MILLISECONDS = 1e-6


async def _measure(url: str, sessions: int) -> None:
    connection = DBConnect.from_url(url, name="main", pool_size=_POOL_SIZE, max_overflow=0, pool_timeout=None)
    inspector = Inspector(access=lambda _headers: "all")
    lifecycle = Lifecycle([connection], observers=[inspector])
    (state,) = [each for each in lifecycle.resources(None) if each.path.endswith("/state.json")]
    may_end = asyncio.Event()

    async def job() -> None:
        await (await db_session(connection)).execute(text("SELECT 1"))
        await may_end.wait()

    jobs = [asyncio.create_task(run_in_new_ctx(job)) for _ in range(sessions)]
    taken: list[float] = []
    body = b""
    for _ in range(_LOOKS):
        # A state is shared for a moment, so looks that follow at once would cost nothing.
        await asyncio.sleep(_SECOND)
        before = time.process_time_ns()
        body = (await state.answer(ResourceRequest(state.path, "", {}))).body
        taken.append((time.process_time_ns() - before) * _MILLISECONDS)
    # The first looks find the sessions while they begin.
    settled = taken[_LOOKS // 2 :]
    print(f"{json.loads(body)['workers'][0]['sessions']['total']:,} open sessions, {len(body):,} bytes")
    print(f"  a look      {statistics.median(settled):6.1f} ms, at most {max(settled):.1f} ms")
    print(f"  of a core   {statistics.median(settled) / 10:6.2f} %, by a page that asks once a second", flush=True)
    may_end.set()
    await asyncio.gather(*jobs)
    await lifecycle.shut_down()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, nargs="+", default=[200, 10_000], help="how many are open")
    arguments = parser.parse_args()
    with database_server() as url:
        for sessions in arguments.sessions:
            asyncio.run(_measure(url, sessions))


if __name__ == "__main__":
    main()
