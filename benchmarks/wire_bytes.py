"""Counts the bytes that each kind of call sends and receives: `python benchmarks/wire_bytes.py`.

The client talks to a real server through a TCP relay that counts. What a connection costs to open,
and the first look at a model's metadata, are left out: every call is made twice, and the second one
counts.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from repository import copy_configurations

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.repository import build
from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]


class CountingRelay:
    """A TCP relay on loopback that counts bytes in both directions.

    Args:
        target: host:port of the server behind it.

    Attributes:
        url: host:port to connect to.
        sent: bytes from clients.
        received: bytes to clients.
    """

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = self.received = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            for source, sink, name in ((client, server, "sent"), (server, client, "received")):
                threading.Thread(target=self._pump, args=(source, sink, name), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        with suppress(OSError):  # the other direction has ended, and both are closed
            while chunk := source.recv(1 << 16):
                setattr(self, name, getattr(self, name) + len(chunk))  # one thread per direction
                sink.sendall(chunk)
        source.close()
        sink.close()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=str(ROOT / "examples" / "scene.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        repository = copy_configurations(Path(name))
        build(load_checkpoint("demo"), "openvino", "fp32", repository, say=lambda line: None)
        with EmbeddedServer(repository) as server:
            relay = CountingRelay(server.grpc_url)
            with SlimSam(relay.url, timeout=600) as sam:
                pixels = load_image(options.image)
                size = Path(options.image).stat().st_size
                print(f"{options.image}: {pixels.shape[1]} x {pixels.shape[0]}, {size:,} bytes\n")
                print(f"{'call':44}{'sent':>14}{'received':>14}{'requests':>10}")
                for what, call in calls(sam, options.image):
                    call()
                    before = relay.sent, relay.received
                    requests = call()
                    sent, received = relay.sent - before[0], relay.received - before[1]
                    print(f"{what:44}{sent:14,}{received:14,}{requests:10}")


def calls(sam: SlimSam, path: str) -> list[tuple[str, Callable[[], int]]]:
    """What to measure: a name, and the call, which returns its number of requests."""
    pixels = load_image(path)
    embedding = sam.embed(pixels)
    middle = [(pixels.shape[1] / 2, pixels.shape[0] / 2)]
    many = np.random.default_rng(0).uniform(1, min(pixels.shape[:2]) - 1, (64, 1, 2))
    logits = sam.predict(embedding, points=middle).low_res_logits[0]
    settings = GenerateSettings()

    def once(call: Callable[[], object]) -> Callable[[], int]:
        return lambda: call() is not None and 1

    def everything(source: object, on_server: bool) -> Callable[[], int]:
        def run() -> int:
            seen: list[int] = []
            sam.generate(source, settings, lambda done, _: seen.append(done), on_server)
            return len(seen)

        return run

    return [
        ("embed", once(lambda: sam.embed(pixels))),
        ("predict, a click", once(lambda: sam.predict(embedding, points=middle))),
        (
            "predict, a click and mask_input",
            once(lambda: sam.predict(embedding, points=middle, mask_input=logits)),
        ),
        ("predict, 64 clicks", once(lambda: sam.predict(embedding, points=many))),
        ("segment, a click", once(lambda: sam.segment(pixels, points=middle))),
        ("generate, 1024 points, in the client", everything(pixels, False)),
        ("generate, 1024 points, on the server, file", everything(path, True)),
        ("generate, 1024 points, on the server, array", everything(pixels, True)),
    ]


if __name__ == "__main__":
    main()
