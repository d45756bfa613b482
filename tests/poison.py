"""A server that ends whenever it is asked."""

from __future__ import annotations

import threading

from slimsam_client.testing import FakeServer


class Poison:
    """A fake server that ends, and comes again, whenever a model is asked."""

    def __init__(self, fake: FakeServer) -> None:
        self.killed = 0
        self._fake = fake
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill)
        self._thread.start()

    def _kill(self) -> None:
        seen = 0
        while not self._over.wait(0.02):
            if len(self._fake.requests) > seen:
                seen = len(self._fake.requests)
                self._fake.stop()
                self.killed += 1
                self._fake.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join()
