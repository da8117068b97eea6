"""The answer to a commit that failed when the response was about to begin."""

from .protocol import ASGIApp, Receive, Scope, Send


async def respond_to_failed_commit(failure: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the application answer by its exception handlers; raise the failure if it has none for it.

    Starlette's handlers stand where the response was made, and refuse to answer an exception once it has begun
    (starlette 1.10, _exception_handler.py): they cannot tell that nothing has left. So they are asked again here.

    Raises:
        Exception: the failure. Starlette's ServerErrorMiddleware, which stands further outside, or else the server
            answers 500.

    """
    handlers = scope.get("starlette.exception_handlers")
    if handlers is None:
        raise failure
    from starlette.middleware.exceptions import ExceptionMiddleware  # noqa: PLC0415 - only where Starlette is in use

    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise failure

    by_class, by_status = handlers
    application: ASGIApp = ExceptionMiddleware(fail, handlers={**by_class, **by_status})
    await application(scope, receive, send)
