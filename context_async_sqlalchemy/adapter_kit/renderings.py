"""The renderings of the metrics that are in progress in this process. Scrapes at the same time share one.

A rendering may take a tenth of a second, and anybody may scrape. So all scrapes together keep one thread busy, and not
the event loop's threads, which look up host names too.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from context_async_sqlalchemy.observer import Exposition

Rendering = tuple[Sequence[tuple[str, str]], bytes]
"""Headers and body."""

MOST_AT_ONCE = 8
"""How many renderings may wait for each other. They differ by the request's headers, which a client chooses."""


class Renderings:
    """The renderings that are in progress. One thread does them, and ends with the last one.

    So nothing has to be shut down with an application, and no idle thread is copied by a fork.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[tuple[int, str, str], tuple[Exposition, Future[Rendering]]] = {}

    def forget_all(self) -> None:
        """Forget the renderings in progress, in a child process that was forked meanwhile."""
        self._lock = threading.Lock()
        self._wanted.clear()

    def share(self, exposition: Exposition, accept: str, accept_encoding: str) -> Future[Rendering] | None:
        """Return the rendering in progress of the same headers. Without one, begin it.

        Args:
            exposition: the observer that renders.
            accept: the request's Accept header.
            accept_encoding: the request's Accept-Encoding header.

        Returns:
            The future of the rendering, which cannot be cancelled, or None if too many renderings are in progress.

        """
        key = id(exposition), accept, accept_encoding
        with self._lock:
            if key in self._wanted:
                return self._wanted[key][1]
            if len(self._wanted) >= MOST_AT_ONCE:
                return None
            if not self._wanted:
                # The thread waits for the lock. It is started first, so that nothing is in progress if that fails.
                threading.Thread(target=self._render_all, name="context_async_sqlalchemy metrics", daemon=True).start()
            future = Future[Rendering]()
            # It counts as running from now on, because a scrape that is cancelled would cancel it for the others.
            future.set_running_or_notify_cancel()
            self._wanted[key] = exposition, future
            return future

    def _render_all(self) -> None:
        is_last = False
        while not is_last:
            with self._lock:
                key, (exposition, future) = next(iter(self._wanted.items()))
            rendering, failure = None, None
            try:
                rendering = exposition.expose(*key[1:])
            except BaseException as error:  # noqa: BLE001 - raised in the scrapes
                failure = error
            with self._lock:
                del self._wanted[key]
                is_last = not self._wanted
            if rendering is None:
                future.set_exception(failure)
            else:
                future.set_result(rendering)


RENDERINGS = Renderings()

if hasattr(os, "register_at_fork"):
    # The thread does not exist in the child, so the futures would never be done.
    os.register_at_fork(after_in_child=RENDERINGS.forget_all)
