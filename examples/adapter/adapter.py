"""An adapter for the framework of ``examples/adapter/framework``."""

from collections.abc import Iterable
from typing import Unpack

from context_async_sqlalchemy import DBConnect, PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import (
    DEFAULT_METRICS_PATH,
    TRY_AGAIN_LATER,
    Context,
    Lifecycle,
    LifecycleOptions,
    called_twice,
    context_or_none,
    finish,
    finish_by_status,
    leave_context,
    make_current,
    overload_answer,
    path_taken,
    release_by_status,
    route_name,
)
from context_async_sqlalchemy.observer import Resource, ResourceRequest
from examples.adapter.framework import Answer, App, Handler, Middleware, RaisedResponse, Request, Response

_KEY = "context_async_sqlalchemy"


class RequestContext(Context):
    """The context of a request."""

    @property
    def response_has_begun(self) -> bool:
        """Whether a part of the response has been sent."""
        return isinstance(self.owner, Request) and self.owner.has_begun


def setup_db(
    app: App,
    connections: Iterable[DBConnect],
    *,
    metrics_path: str | None = DEFAULT_METRICS_PATH,
    **options: Unpack[LifecycleOptions],
) -> None:
    """Give every request of an application a database context; see :func:`context_async_sqlalchemy.setup_db`."""
    if app.is_running:
        raise RuntimeError("setup_db was called after the application had started: call it before serving(app)")
    if _KEY in app.state:
        raise called_twice()
    lifecycle = app.state[_KEY] = Lifecycle(
        connections, route_of=lambda request: route_name(request.method, request.template), **options
    )
    app.middlewares.insert(0, _db_context(lifecycle))
    app.before_headers.append(_release)
    app.on_startup.append(lifecycle.start)
    app.on_shutdown.append(lifecycle.shut_down)
    for resource in lifecycle.resources(metrics_path):
        if app.has_route(resource.path):
            raise path_taken(resource, f"GET {resource.path}")
        app.add_route(["GET", "HEAD"], resource.path, _answered_by(resource))


def _db_context(lifecycle: Lifecycle) -> Middleware:
    async def db_context(request: Request, handler: Handler) -> Answer:
        if _KEY in request.state:  # An application around this one has opened the context.
            return await handler(request)
        context = request.state[_KEY] = RequestContext(lifecycle, context_or_none(), request)
        token = make_current(context)
        try:
            answer = await handler(request)
            await finish_by_status(context, answer.status)
        except RaisedResponse as raised:
            await finish_by_status(context, raised.response.status)
            raise
        except PoolOverloadedError as error:
            await finish(context, commit=False)
            shed = await _answer_overload(request, error) if lifecycle.answer_503 else None
            if shed is None:
                raise
            return shed
        except BaseException:  # A cancellation too.
            await finish(context, commit=False)
            raise
        finally:
            leave_context(token)
        return answer

    return db_context


async def _answer_overload(request: Request, error: PoolOverloadedError) -> Answer | None:
    if request.accepted is not None:
        await request.accepted.end(TRY_AGAIN_LATER)
        return request.accepted
    if request.has_begun:  # A stream, which the server cuts.
        return None
    answer = overload_answer(error)
    return Response(answer.status, answer.body, answer.headers)


async def _release(request: Request, status: int) -> None:
    context = request.state.get(_KEY)
    if isinstance(context, Context):
        await release_by_status(context, status)


def _answered_by(resource: Resource) -> Handler:
    async def answer(request: Request) -> Answer:
        asked = ResourceRequest.of(request.path, request.query, request.headers.items())
        status, headers, body = await resource.answer(asked)
        return Response(status, body, dict(headers))

    return answer
