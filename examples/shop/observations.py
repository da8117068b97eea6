"""An observer of one's own: what each route has waited for, held, and given back early."""

from collections import defaultdict
from dataclasses import dataclass, field

from context_async_sqlalchemy.observer import Checkout, EarlyRelease, FailedCheckout, Observer
from examples.shop.tally import Latencies

_MOSTLY_IDLE = 0.5
# The inspector does not advise below this either.
_WORTH_MENDING_SECONDS = 0.02


@dataclass
class RouteObservation:
    """What the connections of one route did."""

    checkouts: int = 0
    waits: Latencies = field(default_factory=Latencies)
    held_seconds: float = 0.0
    idle_seconds: float = 0.0
    early_releases: int = 0
    saved_seconds: float = 0.0

    @property
    def mean_hold_seconds(self) -> float:
        """How long a connection was held at a time."""
        return self.held_seconds / self.checkouts if self.checkouts else 0.0

    @property
    def idle_share(self) -> float:
        """Which part of the time a connection was held it had nothing to do."""
        return self.idle_seconds / self.held_seconds if self.held_seconds else 0.0

    @property
    def is_mostly_idle(self) -> bool:
        """Whether connections were held mostly without a statement, and long enough for an early release to pay."""
        return self.idle_share > _MOSTLY_IDLE and self.idle_seconds >= self.checkouts * _WORTH_MENDING_SECONDS


class Observations(Observer):
    """Adds up, by route, what the library tells."""

    def __init__(self) -> None:
        self.routes: defaultdict[str, RouteObservation] = defaultdict(RouteObservation)

    def restart(self) -> None:
        """Forget the past."""
        self.routes.clear()

    def checkout_failed(self, failure: FailedCheckout) -> None:
        """Add a wait in vain."""
        self.routes[failure.route].waits.add(failure.wait_seconds)

    def checkout_ended(self, checkout: Checkout) -> None:
        """Add a connection that was given back."""
        route = self.routes[checkout.route]
        route.checkouts += 1
        route.waits.add(checkout.wait_seconds)
        route.held_seconds += checkout.hold_seconds
        route.idle_seconds += checkout.idle_seconds

    def early_release_ended(self, release: EarlyRelease) -> None:
        """Add the time for which others could have a connection that its request had given back."""
        route = self.routes[release.checkout.route]
        route.early_releases += 1
        route.saved_seconds += release.saved_seconds

    def advice(self) -> list[str]:
        """Name the routes that hold connections without using them."""
        return [
            f"{name} holds its connection idle {route.idle_share:.0%} of {route.mean_hold_seconds * 1000:.0f} ms: "
            "release it before the payment call, by await commit_db_session(connection)."
            for name, route in sorted(self.routes.items())
            if route.is_mostly_idle
        ]
