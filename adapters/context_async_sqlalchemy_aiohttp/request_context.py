"""The context of an aiohttp request."""

from aiohttp import web

from context_async_sqlalchemy.adapter_kit import Context


class RequestContext(Context):
    """The context of an aiohttp request, which is its owner.

    Attributes:
        is_streaming: whether the handler has begun the response itself.
        stream: that response. It is not set before.

    """

    is_streaming = False
    stream: web.StreamResponse

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return isinstance(self.owner, web.BaseRequest) and self.owner.writer.output_size > 0


def find_request_context(request: web.BaseRequest, context: Context | None) -> RequestContext | None:
    """Return the context that was opened for a request, or None.

    Args:
        request: the request, or a clone of it: a middleware may give the handler ``request.clone(...)``.
        context: the current context. Code within the request may have opened it, so its parents are searched too.

    """
    while context is not None:
        # aiohttp makes one writer for each request, and a clone shares it.
        if (
            isinstance(context, RequestContext)
            and isinstance(context.owner, web.BaseRequest)
            and context.owner.writer is request.writer
        ):
            return context
        context = context.parent
    return None
