"""A visitor of an inspector."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin

import aiohttp

TOKEN = "the-token-of-the-test"  # noqa: S105 - of the test
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Visitor:
    """A client that keeps its cookies, as a browser does.

    Args:
        client: the client.
        path: the path of the inspector.

    """

    def __init__(self, client: aiohttp.ClientSession, path: str = "/_db") -> None:
        self.client = client
        self.path = path

    async def get(self, below: str = "", **options: Any) -> tuple[int, Any, bytes]:
        """Ask for something below the path, and return status, headers and body. Redirects are not followed."""
        async with self.client.get(self.path + below, allow_redirects=False, **options) as answer:
            return answer.status, answer.headers, await answer.read()

    async def log_in(self) -> tuple[str, str]:
        """Get the cookie. Return it as it was set, and the path to which the browser is led."""
        path, cookie = f"{self.path}?token={TOKEN}", ""
        while "?" in path:
            async with self.client.get(path, allow_redirects=False) as answer:
                assert answer.status == 303, await answer.read()
                path = urljoin(path, answer.headers["Location"])
                cookie = answer.headers.get("Set-Cookie", "")
        return cookie, path

    async def state(self) -> Any:
        """Return the state of the only worker."""
        async with self.client.get(f"{self.path}/state.json") as answer:
            assert answer.status == 200, await answer.text()
            (worker,) = (await answer.json())["workers"]
            return worker


@asynccontextmanager
async def visiting(port: int, path: str = "/_db") -> AsyncGenerator[Visitor]:
    """Visit the inspector of an application on 127.0.0.1."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", cookie_jar=jar) as client:
        yield Visitor(client, path)
