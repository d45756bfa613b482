"""A fake server for the tests of projects that use the SDK, in the test's own process.

    with FakeServer() as server, SlimSam(server.url) as sam:
        ...

It needs no Triton, no weights and no files, and starts in milliseconds.
"""

from __future__ import annotations

from slimsam_client.testing.server import FakeServer
from slimsam_client.testing.servicer import ReceivedRequest

__all__ = ["FakeServer", "ReceivedRequest"]
