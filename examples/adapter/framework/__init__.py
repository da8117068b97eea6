"""A web framework small enough to read: routes, middlewares, streams, websockets, applications in applications.

It has the parts that an adapter meets in any framework. It lacks the limits, TLS and HTTP/2 that a framework for
production has.
"""

from .app import App
from .messages import Answer, BeforeHeaders, Handler, Middleware, RaisedResponse, Request, Response, Stream
from .server import serving
from .websocket import WebSocket

__all__ = [
    "Answer",
    "App",
    "BeforeHeaders",
    "Handler",
    "Middleware",
    "RaisedResponse",
    "Request",
    "Response",
    "Stream",
    "WebSocket",
    "serving",
]
