"""The end of an ASGI application: wait for open contexts, then dispose of the engines."""

from collections.abc import Callable

from context_async_sqlalchemy.adapter_kit import Lifecycle

from .protocol import ASGIApp, Message, Receive, Scope, Send

_LAST_MESSAGES = {"lifespan.startup.failed", "lifespan.shutdown.complete", "lifespan.shutdown.failed"}


async def run_lifespan(  # noqa: PLR0917 - an ASGI call, with what it is for
    app: ASGIApp, lifecycle: Lifecycle, require_sound: Callable[[], None], scope: Scope, receive: Receive, send: Send
) -> None:
    """Run an application's lifespan, observed also if it was stopped before, and shut down after its own shutdown code.

    An application without a lifespan raises, or returns without waiting for a message, as Django does. This function
    answers the server in its place, so that the engines are disposed of.

    Args:
        app: the application.
        lifecycle: waits for the open contexts, and disposes of the engines.
        require_sound: called after the application's startup code. If it raises, the server does not start.
        scope: the lifespan.
        receive: gets the server's messages.
        send: sends a message to the server.

    Raises:
        StartCheckError: a connection cannot be opened. The application's lifespan has not begun.
        Exception: the exception of the application's lifespan, or of ``require_sound``.

    """
    knows_lifespan = False
    received = await _check(lifecycle, receive, send) if lifecycle.check_at_start else []
    lifecycle.start_observing()

    async def receive_for_app() -> Message:
        nonlocal knows_lifespan
        knows_lifespan = True
        return received.pop() if received else await receive()

    async def send_for_app(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            try:
                require_sound()
            except Exception as error:
                await lifecycle.shut_down()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
        if message["type"] in _LAST_MESSAGES:
            await lifecycle.shut_down()
        await send(message)

    try:
        await app(scope, receive_for_app, send_for_app)
    except Exception:
        if knows_lifespan or not lifecycle.connections:
            raise
    if not knows_lifespan and lifecycle.connections:
        if not received:
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send_for_app({"type": "lifespan.shutdown.complete"})


async def _check(lifecycle: Lifecycle, receive: Receive, send: Send) -> list[Message]:
    """Check the connections, and return the message ``lifespan.startup``, which is for the application."""
    received = await receive()
    try:
        await lifecycle.start()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    return [received]
