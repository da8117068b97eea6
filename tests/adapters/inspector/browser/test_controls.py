"""What a visitor does with the page: filter, sort, choose, by mouse and by keyboard, on a screen and on a phone."""

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.adapters.inspector.browser.conftest import Visitor
from tests.adapters.inspector.shop import Shop
from tests.adapters.inspector.states import HOSTILE, pool, session, waiting, worker

pytestmark = pytest.mark.asyncio(loop_scope="package")

SESSIONS = [session(1, "POST /orders"), session(2, "GET /report", age=90.0, statements=70), waiting(3, "GET /products")]


def _rows(page: Page) -> Locator:
    return page.get_by_role("table", name="Open sessions").locator("tbody tr")


async def test_the_keyboard_filters_and_clears(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, worker([pool()], SESSIONS))
    rows = _rows(page)
    await expect(rows).to_have_count(3)
    await page.keyboard.press("/")
    await expect(page.locator("#filter")).to_be_focused()
    await page.keyboard.type("IDLE rep")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("GET /report")
    await expect(page.locator("#sessions-count")).to_contain_text("1 match the filter")
    await page.keyboard.press("Escape")
    await expect(rows).to_have_count(3)
    await expect(page.locator("#filter")).not_to_be_focused()


async def test_a_route_filters_by_itself_and_a_link_can_name_one(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, worker([pool()], SESSIONS))
    await _rows(page).get_by_role("button", name="GET /products").click()
    await expect(page.locator("#filter")).to_have_value("GET /products")
    await expect(_rows(page)).to_have_count(1)
    linked = await visitor.open(f"{shop.origin}/_db#filter=GET%20/report")
    await expect(_rows(linked)).to_have_count(1)


async def test_a_heading_sorts_and_tells_so(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, worker([pool()], SESSIONS))
    rows, heading = _rows(page), page.get_by_role("columnheader", name="Statements").first
    for order, first in (("descending", "GET /report"), ("ascending", "POST /orders"), ("none", "POST /orders")):
        await heading.get_by_role("button").press("Enter")
        await expect(heading).to_have_attribute("aria-sort", order)
        await expect(rows.first).to_contain_text(first)


async def test_the_focus_stays_where_it_is_while_rows_come_go_and_move(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, worker([pool()], SESSIONS))
    button = _rows(page).get_by_role("button", name="GET /report")
    await button.focus()
    await visitor.answer_with(worker([pool()], [SESSIONS[1], session(9, "GET /new"), SESSIONS[0]]))
    await expect(_rows(page).nth(1)).to_contain_text("GET /new")
    await expect(_rows(page).first).to_contain_text("GET /report")
    await expect(button).to_be_focused()


async def test_several_workers_are_one_view_and_one_can_be_chosen(shop: Shop, visitor: Visitor) -> None:
    calm = worker([pool(waiting=0, waiters=[], used=0, holders=[])], [session(1, "GET /other")], pid=8, name="worker 2")
    silent = worker([], [], pid=9, name="worker 3", error="it did not answer within 0.2 s", routes=[])
    page = await visitor.open(shop.url, worker([pool()], SESSIONS), calm, silent)
    await expect(_rows(page)).to_have_count(4)
    await expect(page.locator("#summary li").first).to_contain_text("worker 1, pool main: 2 of 2 in use, 1 waiting")
    await expect(page.locator("#summary")).to_contain_text("worker 3, it did not answer within 0.2 s")
    await page.get_by_label("Worker").select_option(label="worker 2 (8)")
    await expect(_rows(page)).to_have_count(1)
    await expect(_rows(page)).to_contain_text("worker 2")
    await expect(page.locator("#summary")).to_contain_text("All calm")


async def test_pools_of_one_name_and_workers_of_one_process_id_are_told_apart(shop: Shop, visitor: Visitor) -> None:
    old, new = pool(server="old:5432/shop"), pool(key="main 2", server="new:5432/shop", max_overflow=None)
    one = worker([old, new], [session(1)], name="process 1", pid=1)
    page = await visitor.open(shop.url, one, {**one, "started_at": 60.0})
    pools = page.locator("#pools article")
    await expect(pools).to_have_count(4)
    await expect(pools.first).to_contain_text("old:5432/shop")
    await expect(pools.nth(1)).to_contain_text("Size 2 + no limit.")
    await expect(_rows(page)).to_have_count(2)
    await expect(page.locator("#waiting > *")).to_have_count(4)
    await page.get_by_label("Worker").select_option(index=2)
    await expect(_rows(page)).to_have_count(1)


async def test_a_reason_that_comes_late_is_shown_too(shop: Shop, visitor: Visitor) -> None:
    finished = {"id": 5, "route": "GET /", "ended_at": 0.0, "duration": 1.0, "outcome": "failed", "reasons": ["failed"]}
    finished |= {"trace_id": None, "transactions": 1, "statements": 1, "parts": []}
    page = await visitor.open(shop.url, worker([pool()], [], finished={"kept": 1, "shown": [finished]}))
    reasons = page.get_by_role("table", name="Finished").locator("tbody .tag[data-reason]")
    await expect(reasons).to_have_text(["failed"])
    again = {**finished, "reasons": ["failed", "retried"]}
    await visitor.answer_with(worker([pool()], [], finished={"kept": 1, "shown": [again]}))
    await expect(reasons).to_have_text(["failed", "retried"])


async def test_a_worker_that_cannot_reach_the_others_says_so(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url, worker([pool(waiting=0, waiters=[], used=0, holders=[])], []))
    await expect(page.locator("#summary li")).to_have_count(1)
    await visitor.answer_with(worker([pool()], []), note="The others are not shown: no sockets.")
    await expect(page.locator("#summary li").last).to_have_text("The others are not shown: no sockets.")


async def test_a_page_that_is_not_live_says_so_and_recovers(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url)
    await expect(page.locator("#status")).to_have_text("Live")
    problem = page.get_by_role("alert")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=403, body="no")

    await visitor.context.route("**/state.json", refuse)
    await expect(problem).to_contain_text("log in again by the URL that it printed at its last start")
    await expect(problem).to_contain_text("You see the state of")
    await expect(page.locator("#status")).to_have_text("Not live")
    await visitor.context.unroute_all()
    await visitor.context.route("**/state.json", lambda route: route.abort())
    await expect(problem).to_contain_text("The server does not answer.")
    await visitor.context.unroute_all()
    await expect(page.locator("#status")).to_have_text("Live")
    await expect(problem).to_be_hidden()
    # Chromium writes each of these answers to the console, as it has to.
    visitor.faults = [fault for fault in visitor.faults if "Failed to load resource" not in fault]


async def test_dark_and_light_follow_the_system_until_the_visitor_chooses(shop: Shop, visitor: Visitor) -> None:
    page = await visitor.open(shop.url)
    light, dark = "rgb(246, 246, 244)", "rgb(16, 18, 20)"
    body, button = page.locator("body"), page.locator("#theme")
    await page.emulate_media(color_scheme="dark")
    await expect(body).to_have_css("background-color", dark)
    await page.emulate_media(color_scheme="light")
    await expect(body).to_have_css("background-color", light)
    await button.click()
    await button.click()
    await expect(button).to_have_text("Theme: dark")
    await expect(body).to_have_css("background-color", dark)
    await page.reload()
    await expect(body).to_have_css("background-color", dark)


async def test_no_width_scrolls_sideways(shop: Shop, visitor: Visitor) -> None:
    long = "GET /a-path-that-is-longer-than-a-phone-is-wide/with-{several}/{variables}/in_it"
    part = {"kind": "hold", "pool": "main", "from": 0.0, "to": 1.0}
    finished = {"id": 5, "route": long, "ended_at": 0.0, "duration": 1.0, "outcome": "failed", "reasons": ["failed"]}
    finished |= {"trace_id": "f" * 32, "transactions": 1, "statements": 1, "parts": [part]}
    one = worker([pool()], [session(1, long), waiting(3, HOSTILE)], blocked=[])
    one["finished"]["shown"] = [finished]
    page = await visitor.open(shop.url, one, {**one, "pid": 8})
    await expect(_rows(page)).to_have_count(4)
    for width in (320, 375, 768, 1280):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
    assert await page.locator("img").count() == 0


async def test_a_large_state_shows_its_first_rows_and_more_on_demand(shop: Shop, visitor: Visitor) -> None:
    one = worker([pool()], [session(number) for number in range(1, 201)])
    one["sessions"] |= {"total": 10_000, "by_state": {"held idle": 10_000}}
    page = await visitor.open(shop.url, one)
    await expect(_rows(page)).to_have_count(50)
    await expect(page.locator("#sessions-count")).to_contain_text(
        "10,000 sessions: 10,000 held idle; the 200 that hold for the longest are listed"
    )
    await page.get_by_role("button", name="Show 150 more of 200 rows").click()
    await expect(_rows(page)).to_have_count(200)
