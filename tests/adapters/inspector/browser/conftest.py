"""A Chromium of the machine, and visitors of the page."""

import shutil
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright, expect

from context_async_sqlalchemy_inspector.summary import summarize
from tests.adapters.inspector.shop import Shop, serving
from tests.adapters.inspector.states import Json

expect.set_options(timeout=30_000)
_PROGRAMS = ("chromium", "google-chrome")


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncGenerator[Browser]:
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        pytest.skip("the tests of the page need a browser: apt-get install --no-install-recommends chromium")
    # Without a sandbox, because root and most containers have none. It opens only what these tests serve.
    options = ["--no-sandbox"]
    async with async_playwright() as driver, await driver.chromium.launch(executable_path=program, args=options) as it:
        yield it


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def shop(database_url: str) -> AsyncGenerator[Shop]:
    async with serving(database_url, name="main") as served:
        yield served


class Visitor:
    """A visitor of the page: a profile of its own in the browser.

    Everything that a page must never do is written down, and the fixture looks at it when the test ends.

    Args:
        context: the profile.
        origin: the only one that the page may ask.

    """

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.context = context
        self.faults: list[str] = []
        self.origin = origin

    async def open(self, url: str, *workers: Json, clock: bool = False) -> Page:
        """Open a page.

        Args:
            url: its URL.
            workers: the state that the page gets, in place of the application's.
            clock: whether the test moves the time of the page.

        """
        if workers:
            await self.answer_with(*workers)
        page = await self.context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: self._note(message.type in ("error", "warning"), message.text))
        page.on("pageerror", lambda error: self._note(condition=True, fault=str(error)))
        page.on("dialog", lambda dialog: self._note(condition=True, fault=dialog.message))
        page.on("request", lambda request: self._note(not self._is_ours(request.url), request.url))
        # The listener below "console" gets it.
        await page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
        )
        if clock:
            await page.clock.install()
        await page.goto(url)
        return page

    async def answer_with(self, *workers: Json, note: str | None = None) -> None:
        """Let pages get a state that no real application need have."""
        state: dict[str, Any] = {
            "version": 1,
            "now": 1_800_000_000.0,
            "access": "all",
            "workers": [{**worker, "summary": summarize(worker)} for worker in workers],
            "note": note,
        }

        async def fulfill(route: Route) -> None:
            await route.fulfill(json=state)

        await self.context.unroute_all()
        await self.context.route("**/state.json", fulfill)

    def _is_ours(self, url: str) -> bool:
        return url.startswith((f"{self.origin}/", "data:"))

    def _note(self, condition: bool, fault: str) -> None:
        if condition:
            self.faults.append(fault)


@pytest_asyncio.fixture(loop_scope="package")
async def visitor(browser: Browser, shop: Shop) -> AsyncGenerator[Visitor]:
    async with await browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        visitor = Visitor(context, shop.origin)
        yield visitor
    assert visitor.faults == []
