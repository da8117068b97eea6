"""The state of this process, as ``state.json`` has it."""

import os
import time
from typing import Any

Json = dict[str, Any]
VERSION = 1


class Collector:
    """Collects what the page shows of this process."""

    def __init__(self) -> None:
        self._started_at = time.time()

    def worker(self) -> Json:
        """Return the state of this process."""
        return {
            "pid": os.getpid(),
            "name": f"process {os.getpid()}",
            "started_at": self._started_at,
            "error": None,
            "pools": [],
            "sessions": {"total": 0, "by_state": {}, "shown": []},
            "finished": {"kept": 100, "shown": []},
            "routes": [],
            "blocked": None,
        }
