"""Whether requests leave anything behind: live contexts, sessions and tasks before and after many of them."""

import json

from tools.benchmarks.client import CONNECTIONS, server_under_test


async def leaves_nothing(url: str, requests: int) -> bool:
    """Print what is alive before and after requests, and return whether nothing has become more."""
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
