"""What shared memory saves: bytes on the wire, and the time of a request around its computation.

    python -m benchmarks.wire.shared_memory

Encoder and decoder are models that answer at once, on a real server, so what is measured is the way
there and back. Bytes are those of a second call through a relay that counts; times are medians
without the relay.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from benchmarks.first_call import first_call
from benchmarks.wire.counting_relay import CountingRelay
from slimsam_client import Embedding, load_image, operations
from slimsam_client.calls import Call
from slimsam_client.contract import ENCODER, ENSEMBLE, MODELS
from slimsam_client.transport.connection import Connection
from slimsam_client.transport.options import RequestOptions
from slimsam_client.transport.shared_memory.pool import RegionPool
from slimsam_server import EmbeddedServer
from slimsam_server.targets import TARGETS

ROOT = Path(__file__).parents[2]
MODEL = Path(__file__).with_name("instant_model.py")
TARGET = "openvino"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.wire.shared_memory", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=50, help="default: %(default)s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        repository = write_repository(Path(name))
        with EmbeddedServer(repository, TARGET, allow_shared_memory=True) as server:
            relay = CountingRelay(server.grpc_url)
            print(f"{'request':20}{'through':>15}{'sent':>12}{'received':>12}{'ms':>8}")
            for what, call in calls().items():
                for through in ("gRPC", "shared memory"):
                    with connected(relay.url, through) as infer:
                        infer(call)  # which makes the region, too
                        before = relay.sent, relay.received
                        infer(call)
                        sent, received = relay.sent - before[0], relay.received - before[1]
                    with connected(server.grpc_url, through) as infer:
                        seconds = median_of(partial(infer, call), options.rounds)
                    print(f"{what:20}{through:>15}{sent:12,}{received:12,}{seconds * 1e3:8.1f}")


def write_repository(directory: Path) -> Path:
    """Put models that answer at once in the places of encoder and decoders."""
    for spec in MODELS:
        source = ROOT / "model_repository" / spec.name
        version = directory / spec.name / "1"
        version.mkdir(parents=True)
        if spec is ENSEMBLE:
            shutil.copytree(source, version.parent, dirs_exist_ok=True)
            continue
        config = text_format.Parse(
            (source / "configs" / f"{TARGET}.pbtxt").read_text(), ModelConfig()
        )
        config.backend = "python"
        config.default_model_filename = "model.py"
        config.ClearField("model_warmup")
        (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
        shutil.copy(MODEL, version / "model.py")
        for artifact in TARGETS[TARGET].files:  # which the server looks for
            (version / artifact).touch()
    return directory


def calls() -> dict[str, Call]:
    """What the client asks for, as it makes it of a picture and clicks."""
    pixels = load_image(ROOT / "examples" / "scene.png")
    height, width = pixels.shape[:2]
    embedding = Embedding(
        np.zeros(ENCODER.outputs[0].dims, np.float16), (height, width), (768, 1024)
    )
    click = [(width / 2, height / 2)]
    many = np.random.default_rng(0).uniform(1, height - 1, (64, 1, 2))
    return {
        "embed": first_call(operations.embed(pixels)),
        "predict, a click": first_call(
            operations.predict(embedding, click, None, None, None, True)
        ),
        "ensemble, a click": first_call(operations.segment_in_one_call(pixels, click)),
        "predict, 64 clicks": first_call(
            operations.predict(embedding, many, None, None, None, True)
        ),
    }


@contextmanager
def connected(url: str, through: str) -> Iterator[Callable[[Call], None]]:
    """A client's connection: a function that makes a call and reads no answer."""
    options = RequestOptions(timeout=60)
    connection = Connection(url, False, RegionPool() if through == "shared memory" else None)

    def infer(call: Call) -> None:
        deadline = time.monotonic() + options.timeout
        with connection.run(connection.session.infer(call, options, deadline), options):
            pass

    try:
        yield infer
    finally:
        connection.close(options)


def median_of(act: Callable[[], None], rounds: int) -> float:
    """Seconds of one, after one that does not count."""
    act()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
