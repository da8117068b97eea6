"""What the answer to a shed request says to the client, and what the log says."""

import logging

import pytest

from context_async_sqlalchemy import PoolOverloadedError
from context_async_sqlalchemy.adapter_kit import overload, overload_answer


def _error(pool: str, waited: float = 0.5) -> PoolOverloadedError:
    error = PoolOverloadedError(pool, "max_wait=0.5", 5, 5, 12, waited)
    error.add_note("Held most by: GET /reports")
    return error


@pytest.mark.parametrize(("waited", "seconds"), [(0.0, "1"), (0.5, "1"), (2.5, "3")])
def test_the_client_may_try_again_after_whole_seconds(waited: float, seconds: str) -> None:
    status, headers, body = overload_answer(_error("main", waited))
    assert (status, headers["retry-after"]) == (503, seconds)
    assert b"main" not in body


def test_the_log_names_the_holders_at_most_every_ten_seconds_for_each_pool(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    instants = iter((1000.0, 1009.9, 1010.0, 1011.0))
    monkeypatch.setattr(overload, "monotonic", lambda: next(instants))
    monkeypatch.setattr(overload, "_said", {})
    with caplog.at_level(logging.WARNING, "context_async_sqlalchemy"):
        for pool in ("main", "main", "main", "reports"):
            overload_answer(_error(pool))
    assert len(caplog.messages) == 3
    assert all("Held most by: GET /reports" in message for message in caplog.messages)
