"""The shop on Sanic: the same routes and use cases as on aiohttp; only the handlers' signatures differ."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry import context, trace
from sanic import HTTPResponse, Request, Sanic, response
from sanic.response import BaseHTTPResponse
from sanic.signals import Event

from context_async_sqlalchemy import setup_db
from context_async_sqlalchemy.observer import Observer
from examples.shop.domain import Shop
from examples.shop.errors import ANSWERED_ERRORS, answer_to
from examples.shop.parsing import parse_basket, parse_number
from examples.shop.schema import Order
from examples.shop.tracing import answered, request_span

ShopRequest = Request[Any, Any]

_ALL = str(2**31 - 1)
_SHUTDOWN_SECONDS = 5.0


async def list_products(request: ShopRequest) -> HTTPResponse:
    """GET /products?after=20: a page of products."""
    products = await _shop(request).products(parse_number(request.args.get("after", "0"), "after"))
    return response.json([product.summary for product in products])


async def show_product(request: ShopRequest, product_id: str) -> HTTPResponse:
    """GET /products/{id}: one product."""
    product = await _shop(request).product(parse_number(product_id, "id"))
    return response.json(product.summary)


async def place_order(request: ShopRequest) -> HTTPResponse:
    """POST /orders: an order that is paid on delivery."""
    return _created(await _shop(request).place_order(parse_basket(request.body)))


async def place_order_early(request: ShopRequest) -> HTTPResponse:
    """POST /orders-early: the connection is given back before the payment."""
    return _created(await _shop(request).place_order_early(parse_basket(request.body)))


async def place_order_late(request: ShopRequest) -> HTTPResponse:
    """POST /orders-late: the connection is held during the payment."""
    return _created(await _shop(request).place_order_late(parse_basket(request.body)))


async def place_impossible_order(request: ShopRequest) -> HTTPResponse:
    """POST /orders-impossible: it answers 201, but if the COMMIT after it fails no client ever sees that."""
    return _created(await _shop(request).place_impossible_order(parse_basket(request.body)))


async def export(request: Any) -> None:
    """GET /export?at_most=100: orders as a stream of JSON lines, the newest first."""
    shop = _shop(request)
    at_most = parse_number(request.args.get("at_most", _ALL), "at_most")
    newest = await shop.newest_order_id()
    stream = await request.respond(content_type="application/x-ndjson", headers={"X-Newest-Order": str(newest)})
    # The connection that `newest` was read with goes back to the pool here, before the headers go out.
    await stream.send(b"")
    async for page in shop.export_orders(newest, at_most):
        await stream.send("".join(f"{json.dumps(order.summary)}\n" for order in page))


def create_app(shop: Shop, observers: Sequence[Observer] | None = None) -> Any:
    """Make the application.

    Args:
        shop: what it serves.
        observers: in place of those that are installed.

    """
    app: Any = Sanic("shop", configure_logging=False)
    # Sanic Extensions, where they are installed, would add routes that the shop does not have.
    app.config.AUTO_EXTEND = False
    # Its lines would run into those of the load.
    app.config.MOTD = False
    app.ctx.shop = shop
    app.add_route(list_products, "/products")
    app.add_route(show_product, "/products/<product_id:str>")
    app.add_route(place_order, "/orders", methods=["POST"])
    app.add_route(place_order_early, "/orders-early", methods=["POST"])
    app.add_route(place_order_late, "/orders-late", methods=["POST"])
    app.add_route(place_impossible_order, "/orders-impossible", methods=["POST"])
    app.add_route(export, "/export")
    for error in ANSWERED_ERRORS:
        app.error_handler.add(error, _answer_error)
    setup_db(app, [shop.connection], observers=observers)
    app.register_middleware(_begin_span, "request")
    # After the library's own handler: the commit belongs to the span.
    app.signal(Event.HTTP_LIFECYCLE_RESPONSE)(_end_span)
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
    app = create_app(shop, observers)
    server: Any = await app.create_server(sock=listener, return_asyncio_server=True, access_log=False)
    await server.startup()
    await server.before_start()
    await server.after_start()
    try:
        yield
    finally:
        await _stop(server)


async def _stop(server: Any) -> None:
    # What Sanic's own `serve` does; it cannot be used beside the load, as it wants the event loop for itself.
    await server.before_stop()
    server.close()
    for connection in server.connections:
        connection.close_if_idle()
    deadline = asyncio.get_running_loop().time() + _SHUTDOWN_SECONDS
    while server.connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.01)
    for connection in list(server.connections):
        connection.abort()
    await server.after_stop()


async def _begin_span(request: ShopRequest) -> None:
    route = request.route
    span = request_span(request.method, "" if route is None else f"/{route.path}")
    request.ctx.span, request.ctx.outer = span, context.attach(trace.set_span_in_context(span))


async def _end_span(request: ShopRequest, response: BaseHTTPResponse, **_: Any) -> None:
    if hasattr(request.ctx, "span"):
        answered(request.ctx.span, response.status)
        request.ctx.span.end()
        context.detach(request.ctx.outer)


async def _answer_error(_request: ShopRequest, error: Any) -> HTTPResponse:
    status, body = answer_to(error)
    return response.json(body, status=status)


def _shop(request: ShopRequest) -> Shop:
    shop: Shop = request.app.ctx.shop
    return shop


def _created(order: Order) -> HTTPResponse:
    return response.json(order.summary, status=201)
