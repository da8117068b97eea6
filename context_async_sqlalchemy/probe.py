"""Watches one engine's pool and dialect, and fills the records of :mod:`~context_async_sqlalchemy.observer`."""

from sqlalchemy.engine import Engine
from sqlalchemy.pool import QueuePool

from .audience import Audience
from .observer import PoolReading


class Probe:
    """An engine's pool, observed.

    Args:
        engine: the engine; it may be the application's own.
        name: what the pool is called.
        audience: who is told; it may be replaced at any time.

    """

    def __init__(self, engine: Engine, name: str, audience: Audience) -> None:
        self.name = name
        self.audience = audience
        self._engine = engine
        self.server_address: str | None = engine.url.host
        self.server_port: int | None = engine.url.port
        self.database: str | None = engine.url.database
        self.system: str = engine.dialect.name

    @classmethod
    def install(cls, engine: Engine, name: str, audience: Audience) -> "Probe":
        """Observe an engine from now on."""
        probe = cls(engine, name, audience)
        if audience.pool_observed is not None:
            audience.pool_observed(probe)
        return probe

    def remove(self) -> None:
        """Observe no more."""
        if self.audience.pool_forgotten is not None:
            self.audience.pool_forgotten(self)

    def read(self) -> PoolReading:
        """Read the pool's state now."""
        pool = self._engine.pool
        if isinstance(pool, QueuePool):
            return PoolReading(pool.checkedout(), pool.checkedin(), 0, None, pool.size())
        return PoolReading(0, 0, 0, None, None)
