"""The context of an aiohttp request."""

from aiohttp import web

from context_async_sqlalchemy.adapter_kit import Context


class RequestContext(Context):
    """The context of a request."""

    __slots__ = ()

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return isinstance(self.owner, web.Request) and self.owner.writer.output_size > 0
