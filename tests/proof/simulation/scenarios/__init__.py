"""The scenarios: each is a coroutine function that is given a world."""

from tests.proof.simulation.schedule import Scenario

from .databases import databases
from .messages import messages
from .requests import hosts, requests, shutdown
from .tasks import tasks
from .waiters import waiters

SCENARIOS: dict[str, Scenario] = {
    "requests": requests,
    "tasks": tasks,
    "hosts": hosts,
    "shutdown": shutdown,
    "messages": messages,
    "databases": databases,
    "waiters": waiters,
}

__all__ = ["SCENARIOS"]
