"""The warning about several worker processes whose counts are not put together."""

import logging
from functools import cache

logger = logging.getLogger("context_async_sqlalchemy")


@cache
def warn_once(workers: int) -> None:
    """Log that the metrics of this process are not those of the whole server.

    Args:
        workers: the number of the worker processes.

    """
    logger.warning(
        "the server has %d worker processes, and PROMETHEUS_MULTIPROC_DIR is not set: each scrape shows the counts of "
        "one worker only, so Prometheus takes every change of worker for a reset. Set the variable to an empty "
        "directory in the environment of the server (docs/how-to/serve-metrics.md)",
        workers,
    )


def warn_of_several(workers: int) -> None:
    """Warn once in this process, if there are several workers.

    Args:
        workers: the number of the worker processes.

    """
    if workers > 1:
        warn_once(workers)
