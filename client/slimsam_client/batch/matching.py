"""Which picture detections mean by a number, a file's name or a stem."""

from __future__ import annotations

from collections.abc import Hashable

from slimsam_client.errors import SettingsError


class Matches:
    """Pictures by what detections call them.

    What two pictures are called may never come up, so it is refused when it does.

    Args:
        source: path or URL of the detections, for messages.
        kind: what they call pictures by, for messages.
    """

    def __init__(self, source: str, kind: str) -> None:
        self._source = source
        self._kind = kind
        self._names: dict[Hashable, str] = {}
        self._others: dict[Hashable, str] = {}

    def add(self, key: Hashable, name: str) -> None:
        """Add a picture by its name in the batch, or in the detections."""
        if self._names.setdefault(key, name) != name:
            self._others[key] = name

    def get(self, key: Hashable) -> str | None:
        """Give the name of the picture that is called so; None if none is.

        Raises:
            SettingsError: two are.
        """
        if key in self._others:
            raise SettingsError(
                f"{self._source}: expected {self._kind} {key!r:.200} of one picture, got that of "
                f"{self._names[key]!r:.200} and {self._others[key]!r:.200}; rename one of them, or "
                "give Parquet, or COCO's annotations, with the names in full"
            )
        return self._names.get(key)
