"""The end of an ASGI application: wait for open contexts, then dispose of the engines."""

from context_async_sqlalchemy.adapter_kit import Lifecycle

from .protocol import ASGIApp, Message, Receive, Scope, Send

_LAST_MESSAGES = {"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"}


async def run_lifespan(app: ASGIApp, lifecycle: Lifecycle, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an application's lifespan, observed also if it was stopped before, and shut down after its own shutdown code.

    An application without a lifespan raises, or returns without waiting for a message, as Django does. This function
    answers the server in its place, so that the engines are disposed of.

    Args:
        app: the application.
        lifecycle: waits for the open contexts, and disposes of the engines.
        scope: the lifespan.
        receive: gets the server's messages.
        send: sends a message to the server.

    Raises:
        Exception: the exception that the application's lifespan raised.

    """
    knows_lifespan = False
    lifecycle.start_observing()

    async def receive_for_app() -> Message:
        nonlocal knows_lifespan
        knows_lifespan = True
        return await receive()

    async def send_for_app(message: Message) -> None:
        if message["type"] in _LAST_MESSAGES:
            await lifecycle.shut_down()
        await send(message)

    try:
        await app(scope, receive_for_app, send_for_app)
    except Exception:
        if knows_lifespan or not lifecycle.connections:
            raise
    if not knows_lifespan and lifecycle.connections:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send_for_app({"type": "lifespan.shutdown.complete"})
