"""What a request brings stays out of the library's log, messages, metrics, spans and records, on every framework.

The requests have secrets in their path, query, headers and cookies, in SQL and in bound values. They go through the
error paths, where a careless message would quote them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import column, insert, table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from context_async_sqlalchemy import Retry, commit_db_session, db_session, retried, run_in_new_ctx
from context_async_sqlalchemy.observer import Checkout, ContextRecord, FailedAttempt, Observer
from context_async_sqlalchemy_inspector import Inspector
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from context_async_sqlalchemy_prometheus import PrometheusObserver
from tests.adapters.inspector.looking import TOKEN, visiting
from tests.adapters.opentelemetry.traces import Traces
from tests.conformance.driver import Driver, Exchange, Handler, Reply, Setup
from tests.conformance.statements import run, write
from tests.support.connections import connect_to
from tests.support.database import CONFLICT, FAILING_COMMIT, Database
from tests.support.recorder import Recorder
from tests.support.waiting import until

SECRET = "hunter2"  # noqa: S105 - it is looked for
DRIVERS_OWN = "told-by-the-driver"
"""A secret in the text of a driver's error. SECURITY.md says where such texts are; spans and metrics have none."""

SQL = f"SELECT '{SECRET} literal' FROM missing WHERE :value = 'x'"
BOUND = {"value": f"{SECRET} value"}

_FAILING = ("statement", "driver", "commit", "hook", "failed", "exhausted", "leak", "retry")


class _Base(DeclarativeBase):
    pass


class _Missing(_Base):
    """A row whose INSERT fails in the flush before a COMMIT, because there is no such table."""

    __tablename__ = "missing"
    body: Mapped[str] = mapped_column(primary_key=True)


@dataclass
class _Careless(Observer):
    """An observer whose ``repr`` has a secret, and that lets errors with SQL and values out."""

    token: str = SECRET

    def checkout_ended(self, checkout: Checkout) -> None:
        if checkout.error is not None:
            raise checkout.error

    def context_ended(self, context: ContextRecord) -> None:
        if context.error is not None:
            raise RuntimeError("an error of its own") from context.error

    def retried(self, attempt: FailedAttempt) -> None:
        raise RuntimeError("an error of its own") from attempt.error


@dataclass
class _Told:
    """The messages that the library has made for the application."""

    messages: list[str] = field(default_factory=list[str])

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Keep the message of an error of the library, and the notes that it has added to any error."""
        try:
            yield
        except Exception as error:
            if type(error).__module__.startswith("context_async_sqlalchemy"):
                self.messages.append(f"{error} {error!r}")
            self.messages += getattr(error, "__notes__", [])
            raise


class _Application:
    """The handlers, each on an error path.

    Args:
        database: where the rows are.

    """

    def __init__(self, database: Database) -> None:
        self.connection = connect_to(database.url, pool_size=1, pool_timeout=0.1)
        self.told = _Told()
        self.outlived: AsyncSession | None = None
        self.handlers: dict[str, Handler] = {
            f"/{name}/{{id}}": getattr(self, name) for name in (*_FAILING, "stream", "closed")
        }

    async def _with_secrets(self) -> AsyncSession:
        session = await db_session(self.connection)
        await session.execute(text(f"SELECT '{SECRET}' WHERE :value = 'x'"), BOUND)
        return session

    async def statement(self, _exchange: Exchange) -> Reply:
        """Fail in a statement, and go on."""
        session = await self._with_secrets()
        with self.told.listening():
            await session.execute(text(SQL), BOUND)
        return Reply()

    async def driver(self, _exchange: Exchange) -> Reply:
        """Fail with a driver's text that quotes a value."""
        raising = f"DO $$ BEGIN RAISE EXCEPTION '{DRIVERS_OWN}'; END $$"
        await run(self.connection, raising)
        return Reply()

    async def commit(self, _exchange: Exchange) -> Reply:
        """Fail in the flush before the COMMIT."""
        (await self._with_secrets()).add(_Missing(body=SECRET))
        return Reply()

    async def failed(self, _exchange: Exchange) -> Reply:
        """Let a failed transaction be committed."""
        session = await self._with_secrets()
        with contextlib.suppress(SQLAlchemyError):
            await session.execute(text(SQL), BOUND)
        with self.told.listening():
            await commit_db_session(self.connection)
        return Reply()

    async def stream(self, exchange: Exchange) -> None:
        """Fail to commit at the end of a stream."""
        stream = await exchange.stream()
        await stream.write(b"x")
        (await self._with_secrets()).add(_Missing(body=SECRET))

    async def exhausted(self, _exchange: Exchange) -> Reply:
        """Wait for a second connection of the pool until the time-out."""
        await self._with_secrets()
        with self.told.listening():
            await run_in_new_ctx(write, self.connection, SECRET)
        return Reply()

    async def hook(self, _exchange: Exchange) -> Reply:
        """Fail in the application's own hook."""
        (await self._with_secrets()).info["fails"] = True
        return Reply()

    async def leak(self, _exchange: Exchange) -> Reply:
        """Hold a connection for longer than the threshold."""
        await self._with_secrets()
        await asyncio.sleep(0.15)
        await run(self.connection, FAILING_COMMIT)
        return Reply()

    async def retry(self, _exchange: Exchange) -> Reply:
        """Fail by a conflict, twice."""

        @retried(Retry(attempts=2, base_delay=0))
        async def work() -> None:
            await self._with_secrets()
            await run(self.connection, f"/* {SECRET} */ {CONFLICT}")

        with self.told.listening():
            await work()
        return Reply()

    async def closed(self, _exchange: Exchange) -> Reply:
        """Let a session outlive its request."""
        self.outlived = await self._with_secrets()
        return Reply()

    async def use_outlived(self) -> None:
        """Use that session."""
        assert self.outlived is not None
        with pytest.raises(Exception, match="has ended"), self.told.listening():
            await self.outlived.execute(insert(table("notes", column("body"))), {"body": SECRET})

    async def before_commit(self, session: AsyncSession) -> None:
        """Fail as a hook, in requests that ask for it."""
        if session.info.get("fails"):
            await session.execute(text(SQL), BOUND)


async def _send_secrets(port: int, prefix: str, application: _Application) -> dict[str, int | str]:
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": f"session={SECRET}"}
    answers: dict[str, int | str] = {}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as client:
        for path in ["/unmatched/{id}/too", *application.handlers]:
            try:
                async with client.get(prefix + path.replace("{id}", SECRET), params={"token": SECRET}) as response:
                    await response.read()
                    answers[path.split("/")[1]] = response.status
            except aiohttp.ClientError as error:
                answers[path.split("/")[1]] = type(error).__name__
    return answers


async def _seen_by_the_inspector(port: int) -> str:
    async with visiting(port) as visitor:
        await visitor.log_in()
        return (await visitor.get("/state.json"))[2].decode()


async def test_no_secret_of_a_request_is_told(
    driver: Driver, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    application, recorder, traces, registry = _Application(database), Recorder(), Traces(), CollectorRegistry()
    observers = [
        _Careless(),
        recorder,
        PrometheusObserver(registry),
        OpenTelemetryObserver(traces.provider),
        # Each session counts as slow, so that the state has all of them.
        Inspector(token=TOKEN, slow=0.000_001),
    ]
    options: dict[str, Any] = {
        "observers": observers,
        "leak_threshold": 0.05,
        "leak_stacks": True,
        "before_commit": application.before_commit,
    }

    async def unmatched(_exchange: Exchange) -> Reply:
        await run(application.connection, "SELECT 1")
        return Reply()

    setup = Setup(unmatched, [application.connection], options, others=application.handlers)
    with caplog.at_level(logging.DEBUG, logger="context_async_sqlalchemy"):
        async with driver.serving(setup) as port:
            answers = await _send_secrets(port, driver.prefix, application)
            await until(lambda: driver.live_contexts() == 0, "every context has ended")
            await application.use_outlived()
            metrics = generate_latest(registry).decode()
            inspected = await _seen_by_the_inspector(port)
    assert {name: answers[name] for name in _FAILING} == dict.fromkeys(_FAILING, 500)
    assert isinstance(answers["stream"], str), "the stream was not cut"

    own = [record for record in caplog.records if record.name.startswith("context_async_sqlalchemy")]
    log = "\n".join(map(logging.Formatter("%(message)s").format, own))
    for said in ("failed in checkout_ended", "failed in context_ended", "failed in retried", "a leak is suspected"):
        assert said in log
    for said in ("is exhausted", "not run again", "FailedTransactionError", "has ended"):
        assert any(said in message for message in application.told.messages), said
    spans = "\n".join(span.to_json() for name in set(traces.names()) for span in traces.all(name))
    records = "\n".join(
        repr(record)
        for kept in (recorder.checkouts, recorder.failures, recorder.retries, recorder.suspected, recorder.early)
        for record in kept
    )
    assert "42P01" in spans
    for name in _FAILING:
        assert driver.route(f"/{name}/{{id}}") in inspected
    assert "db_client_connection_timeouts_total" in metrics
    assert records
    reprs = repr(application.connection)
    told = {"log": log, "metrics": metrics, "spans": spans, "records": records, "reprs": reprs, "inspected": inspected}
    told["messages"] = "\n".join(application.told.messages)
    for place, content in told.items():
        assert SECRET not in content, f"{place}:\n{content}"
    for place in ("metrics", "spans", "records", "messages", "inspected"):
        assert DRIVERS_OWN not in told[place], f"{place}:\n{told[place]}"
