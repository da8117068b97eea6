"""The first lines tell whether a pool is exhausted, and which route holds it at which line."""

import pytest

from context_async_sqlalchemy_inspector.durations import written
from context_async_sqlalchemy_inspector.summary import summarize
from tests.adapters.inspector.states import Json, pool, session, waiting, worker

HOLDERS = [session(1), session(2), waiting(3)]


def _line(*, sessions: list[Json] = HOLDERS, **of_pool: object) -> dict[str, str]:
    (line,) = summarize(worker([pool(**of_pool)], sessions))
    return line


def test_an_exhausted_pool_names_the_route_that_holds_it_and_the_line_that_it_awaits() -> None:
    assert _line() == {
        "pool": "main",
        "level": "waiting",
        "text": "pool main: 2 of 2 in use, 1 waiting up to 3.2 s",
        "holder": "POST /orders holds 2 of them, 75 % idle, at shop/payments.py:41 pay",
    }


def test_the_route_with_the_most_idle_time_is_named_and_not_the_one_that_is_busy() -> None:
    busy = {"pool": "main", "pool_key": "main 1", "backend_pid": 1, "held": 60.0, "idle": 0.1}
    sessions = [session(1, "GET /report", connections=[busy]), session(2)]
    assert _line(sessions=sessions)["holder"].startswith("POST /orders holds 1 of them, 75 % idle")


def test_connections_of_another_pool_do_not_count_though_it_has_the_same_name() -> None:
    other = {"pool": "main", "pool_key": "main 2", "backend_pid": 1, "held": 60.0, "idle": 60.0}
    both = [*session(1)["connections"], other]
    sessions = [session(1, connections=both), session(2)]
    assert _line(sessions=sessions)["holder"].startswith("POST /orders holds 2 of them, 75 % idle")


def test_a_list_of_holders_that_was_cut_says_at_least() -> None:
    assert "POST /orders holds at least 2 of them" in _line(used=80, size=80)["holder"]


@pytest.mark.parametrize(
    ("of_pool", "level", "text"),
    [
        ({"used": 1, "waiting": 0, "waiters": []}, "calm", "pool main: 1 of 2 in use"),
        ({"used": 2, "waiting": 0, "waiters": []}, "full", "pool main: 2 of 2 in use"),
        ({"max_overflow": None, "waiting": 0, "waiters": []}, "calm", "pool main: 2 in use"),
        ({"size": None, "max_overflow": None, "waiting": 0, "waiters": []}, "calm", "pool main: 2 in use"),
        ({"waiting": 9, "waiters": []}, "waiting", "pool main: 2 of 2 in use, 9 waiting"),
    ],
)
def test_the_level_tells_whether_sessions_wait(of_pool: Json, level: str, text: str) -> None:
    line = _line(**of_pool)
    assert (line["level"], line["text"]) == (level, text)
    assert bool(line["holder"]) == (level != "calm")


def test_holders_that_are_not_listed_name_no_route() -> None:
    assert _line(sessions=[])["holder"] == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-0.5, "0 ms"),
        (0.0854, "85 ms"),
        (3.21, "3.2 s"),
        (42.4, "42 s"),
        (250, "4 min 10 s"),
        (7500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_has_the_units_that_fit_it(seconds: float, text: str) -> None:
    assert written(seconds) == text
