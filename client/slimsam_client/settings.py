"""A client's settings, and what both clients do with them: copies, pickles, other options."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from slimsam_client.answers import as_bool
from slimsam_client.many import checked_concurrency
from slimsam_client.transport.options import Headers, RequestOptions
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_client.transport.tls import Tls

C = TypeVar("C", bound="ConfiguredClient")


@dataclass(frozen=True)
class ClientSettings:
    """The arguments of `SlimSam`, checked."""

    url: str
    tls: bool | Tls
    options: RequestOptions
    concurrency: int
    shared_memory: bool

    def regions(self) -> RegionPool | None:
        """Make the pool of shared memory; None if tensors are sent."""
        return RegionPool() if self.shared_memory else None


def client_settings(
    url: str,
    timeout: float,
    tls: bool | Tls,
    headers: Headers | None,
    concurrency: int,
    shared_memory: bool,
    ssl: bool | Tls | None,
) -> ClientSettings:
    """Check a client's arguments.

    Args:
        url: as for `SlimSam`, like the rest.
        timeout: as for `SlimSam`.
        tls: as for `SlimSam`.
        headers: as for `SlimSam`.
        concurrency: as for `SlimSam`.
        shared_memory: as for `SlimSam`.
        ssl: the former name of `tls`.

    Raises:
        SettingsError: a setting is wrong.
    """
    if ssl is not None:
        warnings.warn("ssl is now called tls", DeprecationWarning, stacklevel=3)
        tls = ssl
    options = RequestOptions(timeout, headers)
    shared_memory = as_bool(shared_memory, "shared_memory")
    return ClientSettings(url, tls, options, checked_concurrency(concurrency), shared_memory)


class ConfiguredClient(ABC):
    """The part of a client that asks no server."""

    _settings: ClientSettings

    @abstractmethod
    def _connect(self, settings: ClientSettings) -> None:
        """Take settings, and make a connection of them."""

    @property
    def url(self) -> str:
        """The server's address, host:port."""
        return self._settings.url

    @property
    def concurrency(self) -> int:
        """How many images of a list are under way at once."""
        return self._settings.concurrency

    @property
    def _options(self) -> RequestOptions:
        return self._settings.options

    def __getstate__(self) -> dict[str, Any]:
        """Give the settings, from which another process makes a client of its own."""
        return {"settings": replace(self._settings, options=self._options.for_pickle())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a client of these settings."""
        self._connect(state["settings"])

    def __copy__(self: C) -> C:
        """Make another client of the same settings, with a connection of its own."""
        other = object.__new__(type(self))
        other._connect(self._settings)
        return other

    def __deepcopy__(self: C, memo: dict[int, Any]) -> C:
        """As `copy.copy`."""
        return copy.copy(self)

    def with_options(
        self: C,
        *,
        timeout: float | None = None,
        headers: Headers | None = None,
        request_id: str | None = None,
    ) -> C:
        """Give a client with other options on the same channel: `sam.with_options(timeout=2)`.

        Args:
            timeout: seconds that one request may take.
            headers: gRPC metadata, in place of this client's.
            request_id: the id of the requests, for the server's log and traces; made up if not
                given.

        Returns:
            The client. Closing either closes both.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        options = self._options.changed(timeout, headers, request_id)
        other._settings = replace(self._settings, options=options)
        return other
