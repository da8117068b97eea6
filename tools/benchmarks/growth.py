"""Whether requests leave anything behind: live contexts, sessions and tasks before and after many of them.

python -m tools.benchmarks.growth
"""

import argparse
import asyncio
import json
import sys

from tools.benchmarks.client import CONNECTIONS, server_under_test
from tools.local_postgres import database_server


async def _measure(url: str, requests: int) -> bool:
    module = "tools.benchmarks.servers.aiohttp_server"
    async with server_under_test(url, None, module, "--application", "measured") as server:
        await server.load("measured", "/two-selects", 1000)
        before = json.loads(await server.ask("/live-objects"))
        await server.load("measured", "/two-selects", requests)
        await server.load("measured", "/nothing", requests // 10)
        after = json.loads(await server.ask("/live-objects"))
    print(f"before: {before}\nafter {requests} requests: {after}")
    # A keep-alive connection keeps the ended context of its last request.
    return all(after[kind] <= before[kind] + CONNECTIONS for kind in before)


def main() -> None:
    """Measure, print, and exit with status 1 if something has grown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    arguments = parser.parse_args()
    with database_server() as url:
        unchanged = asyncio.run(_measure(url, arguments.requests))
    sys.exit(0 if unchanged else 1)


if __name__ == "__main__":
    main()
