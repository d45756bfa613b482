"""A camera faster than the server: every answer is for the newest frame, and none waits in a queue.

python examples/latest_frame.py --fps 30 --count 50 --output latest.gif
python examples/latest_frame.py --folder frames --point 320 240

One request is under way at a time. Frames that come meanwhile replace each other in a mailbox with
one slot, so latency stays at that of one request, and the frame rate is what the server can give.
The click follows the object: each one goes to the middle of the mask before. Without a folder of
frames, a disc that moves over a drawn background stands in for the camera.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import (
    AsyncSlimSam,
    RequestTimeoutError,
    SlimSamError,
    draw_overlay,
    load_image,
)
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import check_format

ANIMATED = {".gif": "GIF", ".png": "PNG", ".webp": "WEBP"}


class Frame(NamedTuple):
    """What a camera took."""

    number: int
    taken: float  # seconds of time.monotonic
    image: NDArray[np.uint8]  # (H, W, 3)


class Mailbox:
    """One slot between a camera and one reader, on one event loop: newer frames replace older."""

    def __init__(self) -> None:
        self.dropped = 0
        self._slot: deque[Frame] = deque(maxlen=1)
        self._filled = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Leave a frame. From a thread: `loop.call_soon_threadsafe(mailbox.put, frame)`."""
        self.dropped += len(self._slot)
        self._slot.append(frame)
        self._filled.set()

    async def take(self) -> Frame:
        """Take the newest frame, or wait for one that is newer than all that were taken."""
        await self._filled.wait()
        self._filled.clear()
        return self._slot.pop()


async def film(frames: Iterator[NDArray[np.uint8]], fps: float, mailbox: Mailbox) -> None:
    start = time.monotonic()
    for number in itertools.count():
        image = await asyncio.to_thread(next, frames)  # a camera's read() would block, too
        await asyncio.sleep(start + number / fps - time.monotonic())
        mailbox.put(Frame(number, time.monotonic(), image))


async def show(
    sam: AsyncSlimSam, mailbox: Mailbox, point: tuple[float, float], count: int
) -> list[Image.Image]:
    pictures: list[Image.Image] = []
    start = time.monotonic()
    while len(pictures) < count:
        frame = await mailbox.take()
        try:
            prediction = await sam.segment(frame.image, points=[point])
        except RequestTimeoutError:  # the server has dropped it, too
            print(f"frame {frame.number}: given up, it would be too old to be worth showing")
            continue
        mask = prediction.best_masks
        pictures.append(await asyncio.to_thread(draw_overlay, frame.image, mask, points=[point]))
        now = time.monotonic()
        print(
            f"frame {frame.number}: {1000 * (now - frame.taken):.0f} ms old, click at "
            f"({point[0]:.0f}, {point[1]:.0f}); {len(pictures) / (now - start):.1f} fps shown, "
            f"{mailbox.dropped} dropped",
            flush=True,
        )
        if mask.any():
            rows, columns = np.nonzero(mask)
            point = (float(np.median(columns)), float(np.median(rows)))
    return pictures


def drawn_frames(fps: float) -> Iterator[NDArray[np.uint8]]:
    """A disc of 60 pixels on its way around a picture of 640 x 480, once in 60 seconds."""
    y, x = np.mgrid[:480, :640]
    background = np.stack([60 + y / 8, 50 + x / 16, 110 + (x + y) / 20], axis=2)
    background += np.random.default_rng(0).normal(0, 4, background.shape)
    for number in itertools.count():
        image = background.copy()
        center_x, center_y = disc_center(number / fps)
        image[np.hypot(x - center_x, y - center_y) < 60] = (240, 200, 80)
        yield image.clip(0, 255).astype(np.uint8)


def disc_center(seconds: float) -> tuple[float, float]:
    angle = 2 * np.pi * seconds / 60
    return 320 + 200 * np.cos(angle), 240 + 120 * np.sin(angle)


async def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of frames, in the order of their names")
    parser.add_argument("--point", type=float, nargs=2, default=disc_center(0), help="first click")
    parser.add_argument("--fps", type=float, default=30.0, help="of the camera")
    parser.add_argument("--count", type=int, default=50, help="of frames to show")
    parser.add_argument("--patience", type=float, default=5.0, help="seconds to wait for an answer")
    parser.add_argument("--output", type=Path, default=Path("latest.gif"))
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()
    if not options.fps > 0 or options.count < 1:
        parser.error("--fps, --count: expected numbers above 0")

    paths = sorted(options.folder.iterdir()) if options.folder else []
    check_format(options.output, ANIMATED)
    check_outputs([options.output], paths)
    frames = drawn_frames(options.fps)
    if options.folder:
        if not paths:
            parser.error(f"--folder: expected pictures in {options.folder}, found nothing")
        frames = map(load_image, itertools.cycle(paths))
    mailbox = Mailbox()
    start = time.monotonic()
    async with AsyncSlimSam(options.url, options.patience) as sam:
        camera = asyncio.create_task(film(frames, options.fps, mailbox))
        viewer = asyncio.create_task(show(sam, mailbox, options.point, options.count))
        try:
            done, _ = await asyncio.wait({camera, viewer}, return_when=asyncio.FIRST_COMPLETED)
        finally:  # Ctrl-C, too: a request under way ends, on the server as well
            camera.cancel()
            viewer.cancel()
            await asyncio.wait({camera, viewer})
    if camera in done:
        camera.result()  # which ends only by an error
    pictures = viewer.result()
    milliseconds = 1000 * (time.monotonic() - start) / len(pictures)
    pictures[0].save(
        options.output,
        ANIMATED.get(options.output.suffix.lower(), "PNG"),
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
    )


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
