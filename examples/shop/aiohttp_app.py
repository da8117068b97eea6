"""The shop on aiohttp: routes, handlers, and how it is served."""

import json
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry import trace

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy.observer import Observer
from examples.shop.domain import Shop
from examples.shop.errors import ANSWERED_ERRORS, answer_to
from examples.shop.parsing import parse_basket, parse_number
from examples.shop.schema import Order
from examples.shop.tracing import answered, request_span

_SHOP = web.AppKey("shop", Shop)
_ALL = str(2**31 - 1)
_SHUTDOWN_SECONDS = 5.0


async def list_products(request: web.Request) -> web.Response:
    """GET /products?after=20: a page of products."""
    products = await request.app[_SHOP].products(parse_number(request.query.get("after", "0"), "after"))
    return web.json_response([product.summary for product in products])


async def show_product(request: web.Request) -> web.Response:
    """GET /products/{id}: one product."""
    product = await request.app[_SHOP].product(parse_number(request.match_info["id"], "id"))
    return web.json_response(product.summary)


async def place_order(request: web.Request) -> web.Response:
    """POST /orders: an order that is paid on delivery."""
    return _created(await request.app[_SHOP].place_order(parse_basket(await request.read())))


async def place_order_early(request: web.Request) -> web.Response:
    """POST /orders-early: the connection is given back before the payment."""
    return _created(await request.app[_SHOP].place_order_early(parse_basket(await request.read())))


async def place_order_late(request: web.Request) -> web.Response:
    """POST /orders-late: the connection is held during the payment."""
    return _created(await request.app[_SHOP].place_order_late(parse_basket(await request.read())))


async def place_impossible_order(request: web.Request) -> web.Response:
    """POST /orders-impossible: it answers 201, but if the COMMIT after it fails no client ever sees that."""
    return _created(await request.app[_SHOP].place_impossible_order(parse_basket(await request.read())))


async def export(request: web.Request) -> web.StreamResponse:
    """GET /export?at_most=100: orders as a stream of JSON lines, the newest first."""
    shop = request.app[_SHOP]
    at_most = parse_number(request.query.get("at_most", _ALL), "at_most")
    newest = await shop.newest_order_id()
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "X-Newest-Order": str(newest)})
    # The connection that `newest` was read with goes back to the pool here, before the headers go out.
    await response.prepare(request)
    async for page in shop.export_orders(newest, at_most):
        await response.write("".join(f"{json.dumps(order.summary)}\n" for order in page).encode())
    return response


def create_app(shop: Shop, observers: Sequence[Observer] | None = None) -> web.Application:
    """Make the application.

    Args:
        shop: what it serves.
        observers: in place of those that are installed.

    """
    app = web.Application(middlewares=[_trace, _answer_errors])
    app[_SHOP] = shop
    app.add_routes(
        [
            web.get("/products", list_products),
            web.get("/products/{id}", show_product),
            web.post("/orders", place_order),
            web.post("/orders-early", place_order_early),
            web.post("/orders-late", place_order_late),
            web.post("/orders-impossible", place_impossible_order),
            web.get("/export", export),
        ]
    )
    # Inside of the middleware that answers errors: by then everything is rolled back, and a failed COMMIT is an error.
    setup_db(app, [shop.connection], position=2, observers=observers)
    return app


@asynccontextmanager
async def serving(
    shop: Shop, listener: socket.socket, observers: Sequence[Observer] | None = None
) -> AsyncGenerator[None]:
    """Serve the shop during the block.

    Args:
        shop: what is served.
        listener: the bound socket that clients connect to.
        observers: in place of those that are installed.

    """
    runner = web.AppRunner(create_app(shop, observers), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


@web.middleware
async def _trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    resource = request.match_info.route.resource
    span = request_span(request.method, "" if resource is None else resource.canonical)
    with trace.use_span(span, end_on_exit=True):
        response = await handler(request)
        answered(span, response.status)
        return response


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ANSWERED_ERRORS as error:
        status, body = answer_to(error)
        return web.json_response(body, status=status)


def _created(order: Order) -> web.Response:
    return web.json_response(order.summary, status=201)
