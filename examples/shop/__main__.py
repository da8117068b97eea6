"""Runs the shop under load and tells what an early release of connections changed: ``python -m examples.shop``."""

import argparse
import asyncio
import contextlib
import logging
import math
import secrets
import signal
import sys
from dataclasses import dataclass

from aiohttp import ClientSession
from rich.console import Console

from context_async_sqlalchemy.observer import Observer
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_opentelemetry import default_observer as opentelemetry_observer
from context_async_sqlalchemy_prometheus import default_observer as prometheus_observer
from examples.shop import aiohttp_app, sanic_app
from examples.shop.checks import ErrorLog, find_problems, orders_answered
from examples.shop.domain import Shop
from examples.shop.load import PAY_EARLY, PAY_LATE, Phase
from examples.shop.observations import Observations
from examples.shop.payment import PaymentProvider
from examples.shop.pool import pool_of
from examples.shop.report import run_and_show
from examples.shop.startup import HOST, CannotStartError, bind, postgres, shop_database
from examples.shop.summary import summarize, summarize_routes
from examples.shop.tracing import SlowestRequest, traces

_SERVING = {"aiohttp": aiohttp_app.serving, "sanic": sanic_app.serving}
_DEFAULT_SECONDS = 20.0
_WARM_UP_SHARE = 0.1
_LARGEST_PORT = 65535
_WIDTH = 120
_SHOWN_METRICS = ("db_session_held_idle_seconds_sum{", "db_session_early_releases_total{")


def main() -> int:
    """Run the demo and give its exit status."""
    arguments = _arguments()
    try:
        return asyncio.run(_run(arguments.duration, arguments.host, arguments.port, arguments.framework))
    except CannotStartError as error:
        print(error, file=sys.stderr)
        return 2


async def _run(duration: float | None, host: str, port: int, framework: str) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    errors = ErrorLog()
    logging.basicConfig(level=logging.WARNING, handlers=[errors, logging.StreamHandler()])
    with bind(host, port) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        _say("Preparing the database ...")
        # This blocks the loop, on which nothing else runs yet: the server ends with the thread that starts it.
        with postgres() as database_url:
            async with shop_database(database_url) as connection:
                shop = Shop(connection, PaymentProvider())
                observations = Observations()
                # The first two are those that setup_db would find installed.
                observers: list[Observer] = [prometheus_observer(), opentelemetry_observer(), observations]
                # Its own token, because that of setup_db(inspector_path=...) is only in the log.
                token = secrets.token_urlsafe(16)
                observers.append(Inspector(token=token))
                with traces(PAY_EARLY) as slowest:
                    async with _SERVING[framework](shop, listener, observers):
                        _say(f"The shop is open at {url}, on {framework}.")
                        _say(f"Its sessions, live: {url}/_db?token={token}")
                        seen = _Seen(observations, slowest, errors)
                        problems = await _put_under_load(shop, url, duration or _DEFAULT_SECONDS, stop, seen)
                        if duration is None and not stop.is_set():
                            _say(_things_to_try(url))
                            await stop.wait()
                        _say("Closing.")
    return 1 if problems else 0


@dataclass(frozen=True)
class _Seen:
    """What was seen from inside of the shop: by an observer of the demo's own, in spans, in the log."""

    observations: Observations
    slowest: SlowestRequest
    errors: ErrorLog

    def restart(self) -> None:
        """Forget the warm-up, but not its errors."""
        self.observations.restart()
        self.slowest.restart()


async def _put_under_load(shop: Shop, url: str, seconds: float, stop: asyncio.Event, seen: _Seen) -> list[str]:
    pool = pool_of(shop.connection)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    measured = seconds * (1 - _WARM_UP_SHARE) / 2
    # The first requests make connections and fill caches: without a warm-up the first phase would pay for both.
    warm_up = Phase("Warm-up", without=frozenset({PAY_LATE}), seconds=seconds * _WARM_UP_SHARE, pool=pool)
    late = Phase("Held while paying", without=frozenset({PAY_EARLY}), seconds=measured, pool=pool)
    early = Phase("Released first", without=frozenset({PAY_LATE}), seconds=measured, pool=pool)
    phases = (warm_up, late, early)
    for phase in phases:
        if not stop.is_set():
            await run_and_show(phase, url, stop, console)
        if phase is warm_up:
            seen.restart()
    tallies = [phase.tally for phase in phases]
    if stop.is_set():
        _say("\nInterrupted: nothing to compare.")
    else:
        for part in (summarize(late.tally, early.tally, pool), summarize_routes(seen.observations)):
            console.print(part, highlight=False)
        await _show_slowest(seen.slowest, console)
        await _show_metrics(url)
    problems = await find_problems(shop.connection, tallies, seen.errors)
    for problem in problems:
        _say(f"PROBLEM: {problem}")
    if not problems:
        _say(
            f"\nChecked: every answer had the status it should have. {orders_answered(tallies)} orders were answered\n"
            "with 201, and as many are in the database. No connection is checked out."
        )
    return problems


async def _show_slowest(slowest: SlowestRequest, console: Console) -> None:
    tree = slowest.tree()
    if tree is not None:
        console.print(f"\nThe slowest {PAY_EARLY}, as spans", highlight=False)
        console.print(tree, crop=False, highlight=False)


async def _show_metrics(url: str) -> None:
    async with ClientSession() as http, http.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    routes = [f'route="{route}"' for route in (PAY_LATE, PAY_EARLY)]
    shown = [line for line in lines if line.startswith(_SHOWN_METRICS) and any(route in line for route in routes)]
    _say("\n".join([f"\n{len(shown)} of the {len(lines)} lines at {url}/metrics", *shown]))


def _things_to_try(url: str) -> str:
    basket = '"items": [{"product_id": 2, "quantity": 1}]'
    return f"""
The shop stays open. Try, from another terminal:
  curl {url}/products/2
  curl -d '{{"customer_id": 1, {basket}}}' {url}/orders-early
  curl -i -d '{{"customer_id": 999, {basket}}}' {url}/orders-impossible
      There is no customer 999. PostgreSQL refuses the COMMIT, so the client gets a 500 and not the 201.
  curl -iN '{url}/export?at_most=100'
      A stream of orders, up to the one that X-Newest-Order names. No connection is held while you read.
Ctrl-C ends everything."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.shop",
        description="A shop under load, twice: orders keep their database connection while they are paid, or not.",
    )
    parser.add_argument(
        "--duration",
        type=_positive_seconds,
        metavar="SECONDS",
        help=f"how long the load takes; the demo ends after it (without: {_DEFAULT_SECONDS:g} s, and it stays open)",
    )
    parser.add_argument(
        "--host",
        choices=(HOST, "0.0.0.0"),  # noqa: S104 - where it is asked for
        default=HOST,
        help="0.0.0.0 for other machines, and for the host of a container (default: %(default)s)",
    )
    parser.add_argument("--port", type=_port, default=8080, help="where the shop listens (default: %(default)s)")
    parser.add_argument("--framework", choices=sorted(_SERVING), default="aiohttp", help="default: %(default)s")
    return parser.parse_args()


def _positive_seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive number of seconds")


def _port(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= int(text) <= _LARGEST_PORT:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to {_LARGEST_PORT}")


def _say(text: str) -> None:
    # A pipe keeps what is not flushed until the end.
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
