"""Observers for scenarios without an application."""

from aiohttp import web

from context_async_sqlalchemy import DBConnect, setup_db
from tests.proof.simulation.world import World


def observe(world: World, *connections: DBConnect) -> None:
    """Let the tally hear of what happens on connections: by an application that never starts."""
    setup_db(web.Application(), connections, observers=[world.tally], metrics_path=None)
