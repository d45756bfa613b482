"""What can be wrong with a cache before it serves anything."""

from __future__ import annotations

from slimsam_client.errors import SettingsError


class CacheError(SettingsError):
    """The cache's file cannot be had as it is asked for: too small, no room, somebody else's."""
