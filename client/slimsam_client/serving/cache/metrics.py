"""Metrics of the cache, beside Triton's own."""

from __future__ import annotations

import time
from typing import Any, Final

from slimsam_client.serving.cache.pictures import PictureCache

SECONDS: Final = 1.0
"""Metrics are published so often, at most."""


class CacheMetrics:
    """Publishes what happens in this process; Triton adds up the processes.

    Args:
        pb_utils: Triton's module.
        cache: the cache.
    """

    def __init__(self, pb_utils: Any, cache: PictureCache) -> None:
        self._cache = cache
        self._published = 0.0
        family = pb_utils.MetricFamily
        self._events = family(
            name="slimsam_cache_events_total",
            description="Hits, misses, evictions and others of the cache of pictures and masks",
            kind=family.COUNTER,
        )
        self._bytes = family(
            name="slimsam_cache_bytes",
            description="Bytes of the pictures and masks that are kept",
            kind=family.GAUGE,
        )
        self._ages = family(
            name="slimsam_cache_oldest_seconds",
            description="Age of the oldest picture or mask that is kept",
            kind=family.GAUGE,
        )
        self._metrics: dict[tuple[str, ...], Any] = {}
        self._counted: dict[tuple[str, ...], int] = {}

    def publish(self) -> None:
        """Publish what has changed, unless that was done a moment ago."""
        if time.monotonic() - self._published < SECONDS:
            return
        self._published = time.monotonic()
        counts = self._cache.picture_counts, self._cache.mask_counts
        occupancies = self._cache.occupancy()
        for kind, count, held in zip(("picture", "mask"), counts, occupancies, strict=True):
            for event, number in vars(count).items():
                # An increment takes 0.1 ms, for which a click waits.
                if self._counted.get((kind, event)) == number:
                    continue
                metric = self._metric(self._events, kind, event)
                metric.increment(number - self._counted.get((kind, event), 0))
                self._counted[kind, event] = number
            self._metric(self._bytes, kind).set(held.nbytes)
            self._metric(self._ages, kind).set(held.oldest_age)

    def _metric(self, family: Any, kind: str, event: str = "") -> Any:
        key = (str(id(family)), kind, event)
        if key not in self._metrics:
            labels = {"kind": kind, **({"event": event} if event else {})}
            self._metrics[key] = family.Metric(labels=labels)
        return self._metrics[key]
