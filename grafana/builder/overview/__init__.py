"""The overview: is the pool hurting, which route is it, why, and what is to be done."""

from grafana.builder.dashboard import Dashboard
from grafana.builder.overview.now import NOW
from grafana.builder.overview.outcomes import OUTCOMES
from grafana.builder.overview.pool import POOL_ITSELF
from grafana.builder.overview.routes import ROUTES

OVERVIEW = Dashboard(
    "overview",
    "SQLAlchemy sessions and pools: overview",
    "Is the pool hurting, which route is it, why, and what is to be done?",
    (NOW, ROUTES, OUTCOMES, POOL_ITSELF),
)
