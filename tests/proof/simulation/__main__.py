"""``make prove``: run as many schedules as asked for, or replay one."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.proof.simulation.explore import Summary, explain, explore, tokens
from tests.proof.simulation.scenarios import SCENARIOS
from tests.proof.simulation.schedule import Token, run

_BATCH = 60


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for.

    Returns:
        0, or 1 if a rule is broken.

    """
    parser = argparse.ArgumentParser(prog="python -m tests.proof.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1500, help="how many")
    parser.add_argument("--seed", default="1", help="from which seed")
    parser.add_argument("--replay", help="the token of one schedule")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    if options.replay:
        return _replay(Token.parse(options.replay))
    return _prove([*tokens(options.seed, options.schedules)], options.processes)


def _replay(token: Token) -> int:
    outcome = run(SCENARIOS[token.scenario], token.choices())
    for line in outcome.story:
        _say(line)
    _say(f"{token}: {outcome.turns:,} turns, faults: {dict(outcome.faults)}, digest {outcome.digest}")
    for violation in outcome.violations:
        _say(f"{violation.rule}: {violation.detail}")
    if not outcome.violations:
        _say("no rule is broken")
    return 1 if outcome.violations else 0


def _prove(wanted: Sequence[Token], processes: int) -> int:
    summary, since = Summary(), time.monotonic()
    try:
        for part in _explored(wanted, processes):
            before = len(summary.broken)
            summary.add(part)
            seconds = time.monotonic() - since
            _say(f"{summary.schedules:,} of {len(wanted):,} schedules, {seconds:.0f} s, {len(summary.broken)} broken")
            for token in [*summary.broken][before : before + 3]:
                _say(f"    make prove REPLAY='{token}'")
    except KeyboardInterrupt:
        _say("stopped")
    _say(
        f"proof: simulation: {summary.schedules:,} schedules, {len(summary.digests):,} distinct, "
        f"{sum(summary.faults.values()):,} faults, {len(summary.broken):,} violations"
    )
    _say(f"faults: {dict(summary.faults.most_common())}")
    if summary.broken:
        _say(explain(summary))
    return 1 if summary.broken else 0


def _explored(wanted: Sequence[Token], processes: int) -> Iterator[Summary]:
    batches = [wanted[start : start + _BATCH] for start in range(0, len(wanted), _BATCH)]
    if processes == 1:
        yield from map(explore, batches)
        return
    with ProcessPoolExecutor(processes) as executor:
        yield from executor.map(explore, batches)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
