"""Who is compared with whom: the servers of each framework, and the environment that each runs in."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[2]
_LOCKED = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Contestant:
    """One application of one server program.

    Attributes:
        label: what a reader sees. ``{name}`` becomes the version of a package in the contestant's environment.
        module: the server's program, below ``tools.benchmarks``.
        application: one of the program's.
        peer: the folder of the peer whose environment the server needs, or None for this project's own.
        over: another application of the group that this one is compared with, beside the first.

    """

    label: str
    module: str
    application: str
    peer: str | None = None
    over: str | None = None

    @property
    def title(self) -> str:
        """The label with the versions."""
        versions = locked_versions(self.peer)
        return re.sub(r"\{([\w-]+)\}", lambda found: versions[found[1]], self.label)


@dataclass(frozen=True)
class Group:
    """Contestants that are compared with the first of them.

    Attributes:
        title: what they have in common.
        contestants: the first is the reference.

    """

    title: str
    contestants: tuple[Contestant, ...]


def locked_versions(peer: str | None) -> dict[str, str]:
    """Return the version of each package in the environment of a peer, or in this project's own."""
    folder = REPOSITORY if peer is None else FOLDER / peer
    return dict(_LOCKED.findall((folder / "requirements.lock").read_text()))


_AIOHTTP, _SANIC, _STARLETTE = "servers.aiohttp_server", "servers.sanic_server", "servers.starlette_server"
_TRACED = "peers.opentelemetry.aiohttp_server"

GROUPS: dict[str, Group] = {
    "aiohttp": Group(
        "aiohttp",
        (
            Contestant("by hand", _AIOHTTP, "by_hand"),
            Contestant("this library, `observers=()`", _AIOHTTP, "unobserved"),
            Contestant("this library, metrics", _AIOHTTP, "measured"),
            Contestant(
                "aiohttp-sqlalchemy {aiohttp-sqlalchemy}",
                "peers.aiohttp_sqlalchemy.aiohttp_server",
                "aiohttp_sqlalchemy",
                "aiohttp_sqlalchemy",
            ),
            Contestant("asyncpg alone, without SQLAlchemy", _AIOHTTP, "driver_alone"),
        ),
    ),
    "aiohttp-traced": Group(
        "aiohttp, in a server span",
        (
            Contestant("by hand", _AIOHTTP, "by_hand_in_server_span"),
            Contestant("this library, no spans of its own", _AIOHTTP, "server_span"),
            Contestant("this library, all spans", _AIOHTTP, "all_spans", over="server_span"),
            Contestant("by hand, SQLAlchemy {sqlalchemy}", _TRACED, "older_in_server_span", "opentelemetry"),
            Contestant(
                "opentelemetry-instrumentation-sqlalchemy {opentelemetry-instrumentation-sqlalchemy}",
                _TRACED,
                "instrumented",
                "opentelemetry",
                over="older_in_server_span",
            ),
        ),
    ),
    "sanic": Group(
        "Sanic",
        (
            Contestant("by hand", _SANIC, "by_hand"),
            Contestant("this library, `observers=()`", _SANIC, "unobserved"),
            Contestant("this library, metrics", _SANIC, "measured"),
            Contestant(
                "advanced-alchemy {advanced-alchemy}",
                "peers.advanced_alchemy.sanic_server",
                "advanced_alchemy",
                "advanced_alchemy",
            ),
        ),
    ),
    "starlette": Group(
        "Starlette",
        (
            Contestant("by hand", _STARLETTE, "by_hand"),
            Contestant("this library, `observers=()`", _STARLETTE, "unobserved"),
            Contestant("this library, metrics", _STARLETTE, "measured"),
            Contestant(
                "context-async-sqlalchemy {context-async-sqlalchemy}, its ASGI middleware",
                "peers.published.starlette_server",
                "published_asgi",
                "published",
            ),
            Contestant(
                "context-async-sqlalchemy {context-async-sqlalchemy}, its Starlette middleware",
                "peers.published.starlette_server",
                "published_starlette",
                "published",
            ),
            Contestant(
                "advanced-alchemy {advanced-alchemy}",
                "peers.advanced_alchemy.starlette_server",
                "advanced_alchemy",
                "advanced_alchemy",
            ),
        ),
    ),
}
