"""Without prometheus-client: the default path is silent, and a path that was asked for is an error."""

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["prometheus_client"] = None
from aiohttp.web import Application
from falcon.asgi import App
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from sanic import Sanic
from starlette.applications import Starlette
from context_async_sqlalchemy import ASGIHTTPDBSessionMiddleware, setup_db
from examples.adapter import adapter, framework

def example(app, connections, **options):
    adapter.setup_db(framework.App(), connections, **options)

def asgi(app, connections, metrics_path=None):
    ASGIHTTPDBSessionMiddleware(app, connections=connections, metrics_path=metrics_path)

def named(framework):
    names = iter("abcd")
    return lambda: framework(next(names))

makers = [Application, App, FastAPI, Litestar, named(Quart), named(Sanic), Starlette]
for make, set_up in [*((make, setup_db) for make in makers), (Starlette, asgi), (object, example)]:
    set_up(make(), [])
    set_up(make(), [], metrics_path=None)
    for path in ("/metrics", "/internal/metrics"):
        try:
            set_up(make(), [], metrics_path=path)
        except ValueError as error:
            print(error)
"""
MESSAGE = (
    "setup_db was given metrics_path={!r}, but no observer can be scraped, so the path would not exist. "
    "If prometheus-client is missing: pip install prometheus-client. If you pass observers=, add a "
    "PrometheusObserver to them. To serve no metrics, pass metrics_path=None"
)


def test_a_path_that_is_asked_for_without_prometheus_client_is_an_error() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=50, check=False)  # noqa: S603
    assert result.stderr == ""
    assert result.stdout.splitlines() == [MESSAGE.format(path) for path in ("/metrics", "/internal/metrics")] * 9
