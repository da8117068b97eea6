"""Measuring: all servers of a framework at once, in processes of their own, loaded in turn for a short block each."""

import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tools.benchmarks.peers.contestants import Contestant, Group
from tools.benchmarks.peers.starting import Place

_PATH = "/two-selects"
Blocks = dict[Contestant, list[list[float]]]
"""Microseconds of CPU time per request: of each block, by the set of processes."""


async def measure_set(group: Group, place: Place, blocks: Blocks, *, rounds: int, requests: int, number: int) -> None:
    """Measure one set of processes.

    In one process two applications would share what CPython learns of the code that both run. From the types that one
    of them uses it specializes SQLAlchemy's functions, which fails for the other's.

    Args:
        group: who is measured.
        place: where.
        blocks: gets what was measured.
        rounds: blocks of each contestant.
        requests: in a block.
        number: of the set.

    """
    async with AsyncExitStack() as stack:
        servers = {
            contestant: await stack.enter_async_context(place.server(contestant)) for contestant in group.contestants
        }
        for contestant, server in servers.items():
            await server.load(contestant.application, _PATH, 2 * requests)
            blocks.setdefault(contestant, []).append([])
        for turn in range(rounds):
            for contestant in in_turn(group.contestants, number, turn):
                taken = await servers[contestant].cpu_per_request(contestant.application, _PATH, requests)
                blocks[contestant][-1].append(taken)


def in_turn(contestants: Sequence[Contestant], number: int, turn: int) -> list[Contestant]:
    """Return the order of a round.

    Every other round is the one before, backwards: so each contestant is as early as any other in the two of them.

    Args:
        contestants: who takes part.
        number: of the set. Another contestant begins in the next one.
        turn: the number of the round.

    """
    begin = (number + turn // 2) % len(contestants)
    order = [*contestants[begin:], *contestants[:begin]]
    return order[::-1] if turn % 2 else order


def median_of_all(sets: Sequence[Sequence[float]]) -> float:
    """Return the median of the blocks of all sets."""
    return statistics.median(block for blocks in sets for block in blocks)
