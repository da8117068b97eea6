"""The context of an aiohttp request."""

from aiohttp import web

from context_async_sqlalchemy.adapter_kit import Context


class RequestContext(Context):
    """The context of an aiohttp request, which is its owner."""

    __slots__ = ()

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return isinstance(self.owner, web.Request) and self.owner.writer.output_size > 0


def find_request_context(request: web.Request, context: Context | None) -> Context | None:
    """Return the context that a request owns, or None.

    Args:
        request: the request.
        context: the current context. Code within the request may have opened it, so its parents are searched too.

    """
    while context is not None and context.owner is not request:
        context = context.parent
    return context
