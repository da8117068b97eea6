"""Shows an inspector in the terminal: ``python -m context_async_sqlalchemy_inspector URL``."""

import argparse
import contextlib
import json
import os
import sys
import time

from .client import Client, InspectorError, Json
from .tokens import TOKEN_VARIABLE

_EVERY = 1.0
_WIDTH = 140
"""The columns of the output where it is no terminal."""
_NO_RICH = "The terminal needs rich: pip install rich. --json works without it."


def main() -> int:
    """Show the state and return the exit status: 0, or 1 if the inspector gives no state, or 2 if rich is missing."""
    arguments = _arguments()
    try:
        client = Client(arguments.url, arguments.token or os.environ.get(TOKEN_VARIABLE), arguments.header)
        state = client.state()
        if arguments.json:
            print(json.dumps(state, indent=2))  # noqa: T201 - the program's output
            return 0
        return _show(client, state, arguments.filter, once=arguments.once)
    except InspectorError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the program's output
        return 1
    except KeyboardInterrupt:
        return 0


def _show(client: Client, state: Json, words: str, *, once: bool) -> int:
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra, which --json does without
        from rich.live import Live  # noqa: PLC0415 - as above
    except ModuleNotFoundError:
        print(_NO_RICH, file=sys.stderr)  # noqa: T201 - the program's output
        return 2
    from .terminal import draw  # noqa: PLC0415 - it imports rich

    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    if once or not console.is_terminal:
        console.print(draw(state, words))
        return 0
    with Live(draw(state, words, console.height), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(_EVERY)
            problem = ""
            try:
                state = client.state()
            except InspectorError as error:
                problem = str(error)
            live.update(draw(state, words, console.height, problem), refresh=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m context_async_sqlalchemy_inspector",
        description="The open sessions and the pools of an application, once a second. Ctrl-C ends it.",
    )
    parser.add_argument(
        "url",
        metavar="URL",
        help="the URL that the application printed, with its token",
    )
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help=f"the token, if the URL has none. Other accounts see arguments, and not the environment: {TOKEN_VARIABLE}",
    )
    parser.add_argument("--once", action="store_true", help="print the state once, and end")
    parser.add_argument("--json", action="store_true", help="print state.json once, and end")
    parser.add_argument("--filter", default="", metavar="WORDS", help="show only sessions and routes with these words")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        type=_header,
        metavar="'NAME: VALUE'",
        help="send this header too, for example for a proxy. Can be repeated",
    )
    return parser.parse_args()


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is no header: write 'Name: value'")
    return name.strip(), value.strip()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
