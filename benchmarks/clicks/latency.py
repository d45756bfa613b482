"""What one click takes, each way and in this process, by turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.clicks.ways import (
    EMBEDDING,
    KEPT,
    TIMEOUT,
    click,
)
from benchmarks.in_process import InProcess
from benchmarks.scene_pictures import new_picture, random_points
from slimsam_client import Embedding, SlimSam
from slimsam_client.contract import DECODER
from slimsam_client.encodings import Rle, from_rle

PAUSE: Final = 0.1
"""Seconds before each click. Threads of the one before have ended: ONNX Runtime's spin for 30 ms
after a click, on a core that the next one needs, and longer where the machine is busy."""
IN_PROCESS: Final = "in process"
DIFFERENT: Final = 0.01
"""Of the picture's pixels, so many may differ between the sides' masks: they do the same work."""


def click_seconds(url: str, repository: Path, target: str, rounds: int) -> dict[str, float]:
    """Measure the medians of a click's seconds.

    Each round has a point of its own, and each side clicks on it: the decoder in this process, with
    the same resizing and the same RLE; the server by a kept picture; the server with an embedding.

    Args:
        url: host:port of the server.
        repository: the one that it serves.
        target: which runtime it serves it by.
        rounds: clicks of each side.

    Raises:
        AssertionError: the sides' masks differ by more than `DIFFERENT`.
    """
    model = InProcess(repository, "fp32", target, [DECODER])
    picture = new_picture()
    with SlimSam(url, timeout=TIMEOUT) as sam:
        kept, embedding = (way.know(sam, picture) for way in (KEPT, EMBEDDING))
        assert isinstance(embedding, Embedding)

        def in_process(point: tuple[float, float]) -> Rle:
            (rle,) = model.predict(embedding, [point], "rle").rles
            return rle

        sides: dict[str, Callable[[tuple[float, float]], Rle]] = {
            IN_PROCESS: in_process,
            KEPT.name: lambda point: click(sam, kept, point),
            EMBEDDING.name: lambda point: click(sam, embedding, point),
        }
        points = random_points(rounds + 1, seed=0)
        first, *others = (from_rle(side(points[0])) for side in sides.values())
        for other in others:
            differ = (first != other).mean()
            assert differ <= DIFFERENT, f"{differ:.1%} of a mask's pixels differ between the sides"
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for point in points[1:]:
            for name, side in sides.items():
                time.sleep(PAUSE)
                began = time.perf_counter()
                side(point)
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}
