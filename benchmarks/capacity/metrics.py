"""How many series of metrics a server offers to Prometheus."""

from __future__ import annotations

import urllib.request

from slimsam_server import EmbeddedServer


def metric_series(server: EmbeddedServer) -> int:
    """Count the samples of a scrape: each is of a series."""
    local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with local.open(server.metrics_url, timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(bool(line) and not line.startswith("#") for line in lines)
