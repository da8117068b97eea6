"""The scenarios: each is a coroutine function that is given a world."""

from tests.proof.simulation.schedule import Scenario

from .requests import hosts, requests, shutdown
from .tasks import tasks

SCENARIOS: dict[str, Scenario] = {"requests": requests, "hosts": hosts, "shutdown": shutdown, "tasks": tasks}

__all__ = ["SCENARIOS"]
