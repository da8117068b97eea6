"""The response to a commit that failed before the response began, made by Starlette's exception handlers."""

from .protocol import ASGIApp, Receive, Scope, Send


async def respond_to_failed_commit(failure: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Respond by the application's exception handlers, or raise the failure.

    Starlette's exception handlers have refused the failure, because the application has begun its response (starlette
    1.10, _exception_handler.py). But the middleware has sent nothing yet, so the handlers run again here.

    Args:
        failure: the exception of the commit.
        scope: the request.
        receive: gets the server's messages.
        send: sends the handler's response.

    Raises:
        Exception: the failure, if no handler exists for it. Starlette's ServerErrorMiddleware or the server responds
            with a 500 then.

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
