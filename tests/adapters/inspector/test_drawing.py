"""The terminal shows the answer first, cuts what has no room, and no name can steer it."""

from io import StringIO
from typing import Any

from rich.console import Console

from context_async_sqlalchemy_inspector.summary import summarize
from context_async_sqlalchemy_inspector.terminal import draw
from tests.adapters.inspector.states import HOSTILE, Json, pool, session, waiting, worker


def _state(*workers: Json) -> Json:
    return {"version": 1, "workers": [{**one, "summary": summarize(one)} for one in workers]}


def _drawn(*workers: Json, color: bool = False, **options: Any) -> str:
    output = StringIO()
    console = Console(file=output, width=160, highlight=False, force_terminal=color)
    console.print(draw(_state(*workers), **options))
    return output.getvalue()


TROUBLE = worker([pool()], [session(1), session(2), waiting(3)])


def test_the_answer_comes_first_and_the_tables_below_it() -> None:
    lines = _drawn(TROUBLE).splitlines()
    assert lines[0] == (
        "pool main: 2 of 2 in use, 1 waiting up to 3.2 s; "
        "POST /orders holds 2 of them, 75 % idle, at shop/payments.py:41 pay"
    )
    (shown,) = [line for line in lines if "4001" in line]
    assert " ".join(shown.split()) == "POST /orders held idle shop/payments.py:41 pay 2.5 s 2.0 s 75% 1 3 4001"


def test_a_worker_that_cannot_reach_the_others_says_so() -> None:
    output = StringIO()
    state = {**_state(TROUBLE), "note": "The others are not shown: no sockets."}
    Console(file=output, width=160).print(draw(state))
    assert output.getvalue().splitlines()[1] == "The others are not shown: no sockets."


def test_the_summary_of_the_worst_pool_is_first_and_a_worker_that_did_not_answer_is_told() -> None:
    calm = worker([pool(waiting=0, used=0, waiters=[])], [], name="worker 1")
    silent = worker([], [], name="worker 2", error="no answer within 200 ms", routes=[])
    first, second, third, *_ = _drawn(calm, silent, {**TROUBLE, "name": "worker 3"}).splitlines()
    assert first.startswith("worker 3, pool main: 2 of 2 in use, 1 waiting")
    assert second == "worker 2, no answer within 200 ms"
    assert third == "worker 1, pool main: 0 of 2 in use"


def test_a_filter_leaves_sessions_and_routes_with_all_of_its_words() -> None:
    drawn = _drawn(worker([pool()], [session(1), session(2, "GET /report")]), words="orders IDLE")
    assert "4001" in drawn
    assert "4002" not in drawn


def test_a_small_terminal_gets_the_sessions_that_hold_the_longest() -> None:
    sessions = [session(number) for number in range(1, 100)]
    drawn = _drawn(worker([pool()], sessions), height=30)
    assert len(drawn.splitlines()) <= 30
    assert "Open sessions: 99 (99 held idle); 19 are shown" in drawn


def test_a_problem_is_shown_above_the_last_state() -> None:
    assert _drawn(TROUBLE, problem="it does not answer").splitlines()[0] == "it does not answer"


def test_no_name_can_steer_the_terminal_or_the_markup() -> None:
    names = worker(
        [pool(name=HOSTILE, server=HOSTILE)],
        [session(1, HOSTILE, state=HOSTILE, awaiting=HOSTILE)],
        name=HOSTILE,
        routes=[{"route": HOSTILE, "sessions": 1, "held": 1, "held_idle": 1, "early_releases": 0, "text": HOSTILE}],
    )
    names["sessions"]["by_state"] = {HOSTILE: 1}
    drawn = _drawn(names, {**TROUBLE, "error": HOSTILE}, problem=HOSTILE, color=True)
    assert "\x1b[31m<img" not in drawn
    assert "\u202e" not in drawn
    assert "\\x1b[31m<img src=x onerror=alert(1)>[bold]\\u202e" in drawn
