"""Pictures that the gateway fetches itself: from configured origins, and from nowhere else."""

from __future__ import annotations

from slimsam_gateway.fetching.fetcher import Fetched, Fetcher
from slimsam_gateway.fetching.origins import Sources, origin_of

__all__ = ["Fetched", "Fetcher", "Sources", "origin_of"]
