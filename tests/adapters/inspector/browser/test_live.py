"""The page in a real browser, with the state of a real application on a real PostgreSQL."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.adapters.inspector.browser.conftest import Visitor
from tests.adapters.inspector.servers import serving_workers, states_at, token_in
from tests.adapters.inspector.shop import TOKEN, Shop, serving
from tests.adapters.inspector.states import HOSTILE
from tests.support.waiting import until_async

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_visitor_logs_in_and_sees_who_waits_and_which_route_holds_the_pool_at_which_line(
    shop: Shop, visitor: Visitor
) -> None:
    async with shop.order_in_payment(products=2):
        page = await visitor.open(shop.url)
        assert page.url == f"{shop.origin}/_db", "the token stays in no history"
        summary = page.locator("#summary")
        await expect(summary).to_contain_text("pool main: 1 of 1 in use, 2 waiting up to")
        await expect(summary).to_contain_text("GET /orders holds 1 of them")
        await expect(summary).to_contain_text("inspector/shop.py:")
        pool = page.locator("#pools article")
        await expect(pool).to_contain_text("1 of 1 in use")
        await expect(pool).to_contain_text("2 waiting")
        waits = page.get_by_role("table", name="These wait")
        holds = page.get_by_role("table", name="for these, which hold its connections")
        await expect(waits.get_by_role("row").nth(1)).to_contain_text("GET /products")
        await expect(holds.get_by_role("row").nth(1)).to_contain_text("GET /orders")
        sessions = page.get_by_role("table", name="Open sessions")
        await expect(sessions.locator("tbody tr")).to_have_count(3)
        await expect(sessions.locator("tbody tr").first).to_contain_text("held idle")
        await expect(sessions.locator("tbody tr").last).to_contain_text("waiting")
    await expect(summary).to_contain_text("no session waits")
    await expect(sessions).to_be_hidden()
    await expect(page.locator("#nobody-waits")).to_be_visible()


async def test_a_visitor_without_the_token_gets_a_plain_sentence(shop: Shop, visitor: Visitor) -> None:
    for query in ("", "?token=wrong"):
        response = await visitor.context.request.get(f"{shop.origin}/_db{query}")
        assert response.status == 403
        assert "?token=" in await response.text()
        assert "<" not in await response.text()
    for name in ("state.json", "app.js"):
        assert (await visitor.context.request.get(f"{shop.origin}/_db/{name}")).status == 403
    assert await visitor.context.cookies() == []


async def test_the_cookie_is_for_the_page_alone(shop: Shop, visitor: Visitor) -> None:
    await visitor.open(shop.url)
    (cookie,) = await visitor.context.cookies()
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("path")) == (True, "Strict", "/_db")
    assert TOKEN not in cookie.get("value", TOKEN)


async def test_a_frozen_page_asks_for_nothing_and_keeps_what_it_shows(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, clock=True)
    status, summary, button = page.locator("#status"), page.locator("#summary"), page.locator("#freeze")
    await expect(status).to_have_text("Live")
    await expect(summary).to_contain_text("no session waits")
    asked: list[str] = []
    await page.keyboard.press("f")
    await expect(status).to_have_text("Frozen")
    await expect(button).to_have_attribute("aria-pressed", "true")
    page.on("request", lambda request: asked.append(request.url))
    async with shop.order_in_payment():
        await page.clock.run_for(60_000)
        assert asked == []
        await expect(summary).to_contain_text("no session waits")
        await button.click()
        await expect(status).to_have_text("Live")
        await expect(summary).to_contain_text("1 waiting")
    assert asked


async def test_a_hidden_page_asks_for_nothing(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, clock=True)
    await expect(page.locator("#status")).to_have_text("Live")
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await expect(page.locator("#status")).to_have_text("Paused")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.clock.run_for(60_000)
    assert asked == []
    async with page.expect_request("**/state.json"):
        await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.locator("#status")).to_have_text("Live")


async def test_a_name_with_markup_is_text(database_url: str, visitor: Visitor) -> None:
    async with serving(database_url, name=HOSTILE) as shop, shop.order_in_payment():
        visitor.origin = shop.origin
        page = await visitor.open(shop.url)
        await expect(page.locator("#pools h3")).to_have_text(HOSTILE)
        await expect(page.locator("#summary")).to_contain_text(f"pool {HOSTILE}: 1 of 1 in use")
        assert await page.locator("img").count() == 0


async def test_the_workers_of_a_server_are_on_one_page(database_url: str, visitor: Visitor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with serving_workers("gunicorn", log, database_url) as port:

        async def shows_both() -> bool:
            return len(await states_at(port, log)) == 2

        await until_async(shows_both, "a worker shows both")
        visitor.origin = f"http://127.0.0.1:{port}"
        page = await visitor.open(f"{visitor.origin}/_db?token={token_in(log)}")
        await expect(page.get_by_label("Worker").locator("option")).to_have_text(
            ["all 2", re.compile(r"process \d+"), re.compile(r"process \d+")]
        )
        # Before the server ends, because a page that cannot ask logs an error.
        await page.close()


async def test_a_script_that_got_into_the_page_does_not_run(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url)
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.hacked = true' }))"
    )
    assert await page.evaluate("window.hacked") is None
    # The tests would have noticed it.
    assert "script-src-elem" in visitor.faults
    visitor.faults = []
