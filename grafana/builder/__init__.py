"""What the dashboards are made from: ``python -m grafana.builder`` writes them (``make dashboards``)."""
