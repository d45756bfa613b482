"""For the tests of projects that use the SDK: a server in the test's own process.

    with FakeServer() as server, SlimSam(server.url) as sam:
        ...

No Triton, no weights, no files; it starts in milliseconds.
"""

from __future__ import annotations

from slimsam_client.testing.server import FakeServer
from slimsam_client.testing.servicer import ReceivedRequest

__all__ = ["FakeServer", "ReceivedRequest"]
