"""The names of authors of observers and adapters."""

from collections.abc import Sequence
from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession

from context_async_sqlalchemy import DBConnect
from context_async_sqlalchemy.adapter_kit import (
    Context,
    Database,
    Lifecycle,
    Work,
    context_or_none,
    current_context,
    finish,
    kind_of,
    leave_context,
    open_context,
    route_name,
    without_statements,
)
from context_async_sqlalchemy.observer import (
    Checkout,
    CheckoutPath,
    ContextOutcome,
    ContextRecord,
    Exposition,
    FailedAttempt,
    ObservedPool,
    Observer,
    PoolReading,
    ReleaseCause,
    Transaction,
    TransactionOutcome,
    exposition_of,
)
from context_async_sqlalchemy_opentelemetry import OpenTelemetryObserver
from context_async_sqlalchemy_prometheus import PrometheusObserver


class Careful(Observer):
    """An observer that overrides what it needs."""

    def checkout_ended(self, checkout: Checkout) -> None:
        """Look at all of it."""
        assert_type(checkout.pool, ObservedPool)
        assert_type(checkout.context, ContextRecord | None)
        assert_type(checkout.path, CheckoutPath)
        assert_type(checkout.released_by, ReleaseCause)
        assert_type(checkout.transactions, list[Transaction])
        assert_type(checkout.route, str)
        for seconds in (checkout.wait_seconds, checkout.hold_seconds, checkout.idle_seconds):
            assert_type(seconds, float)
        for transaction in checkout.transactions:
            assert_type(transaction.outcome, TransactionOutcome)
            assert_type(transaction.error, BaseException | None)
        assert_type(checkout.pool.read(), PoolReading)
        assert_type(checkout.pool.read().maximum, int | None)

    def context_ended(self, context: ContextRecord) -> None:
        """Look at its history."""
        assert_type(context.outcome, ContextOutcome)
        assert_type(context.checkouts, list[Checkout])

    def retried(self, attempt: FailedAttempt) -> None:
        """Look at the error."""
        assert_type(attempt.sqlstate, str)


class Wrong(Observer):
    """An observer whose method has another argument than the library passes."""

    def checkout_ended(self, checkout: int) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Do nothing."""


def expositions() -> None:
    scraped: Exposition = PrometheusObserver()
    assert_type(scraped.expose("", ""), tuple[Sequence[tuple[str, str]], bytes])
    assert_type(exposition_of([Careful(), PrometheusObserver(), OpenTelemetryObserver()]), Exposition | None)


async def adapters(connection: DBConnect) -> None:
    lifecycle = Lifecycle([connection], observers=[Careful()], drain_timeout=5.0)
    context, token = open_context(lifecycle)
    assert_type(context, Context)
    assert_type(context.session(connection), AsyncSession | None)
    assert_type(context.transactions(), Work)
    database: Database = connection
    assert_type(database.name, str)
    assert_type(current_context(), Context)
    assert_type(context_or_none(), Context | None)
    await finish(context, commit=True)
    leave_context(token)
    assert_type(route_name("GET", None), str)
    assert_type(kind_of(connection), str)
    assert_type(without_statements(ValueError()), BaseException)
    assert_type(await lifecycle.drain(1.0), int)
