"""Writes the dashboards: ``python -m grafana.builder``."""

from grafana.builder.dashboard import write
from grafana.builder.overview import OVERVIEW

if __name__ == "__main__":
    write(OVERVIEW)
