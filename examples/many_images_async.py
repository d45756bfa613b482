"""A folder of photos, several under way at once: the object in each one's middle.

python examples/many_images_async.py photos --output overlays

Lines come in the order of the names, each as soon as its turn is done; a photo that fails is named
at the end, and the others do not mind. For a list of images that may all be in memory together,
`await sam.segment(images, points=...)` does the same in one call.
"""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from slimsam_client import AsyncSlimSam, SlimSamError, draw_overlay, load_image
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import write_picture


async def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("overlays"), help="a folder, too")
    parser.add_argument("--concurrency", type=int, default=8, help="photos under way at once")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()
    if options.concurrency < 1:
        parser.error(f"--concurrency: expected at least 1, got {options.concurrency}")

    paths = sorted(path for path in options.folder.iterdir() if path.is_file())
    options.output.mkdir(parents=True, exist_ok=True)
    if options.output.samefile(options.folder):
        parser.error(f"--output: expected a folder other than {options.folder}, got the same")
    check_outputs([options.output / f"{path.name}.png" for path in paths], paths)
    limit = asyncio.Semaphore(options.concurrency)
    failed = []
    async with AsyncSlimSam(options.url) as sam:

        async def limited(path: Path) -> str:
            async with limit:  # only these hold an image and its masks
                return await segment_middle(sam, path, options.output / f"{path.name}.png")

        tasks = [asyncio.create_task(limited(path)) for path in paths]
        for path, task in zip(paths, tasks, strict=True):
            try:
                print(f"{path.name}: {await task}", flush=True)
            except SlimSamError as error:
                failed.append(path.name)
                print(f"{path.name}: {error}", file=sys.stderr)
    if failed:
        sys.exit(f"{len(failed)} of {len(paths)} failed: {', '.join(failed)}")


async def segment_middle(sam: AsyncSlimSam, path: Path, output: Path) -> str:
    # Reading and drawing take as long as a request on a good GPU: threads keep the loop free.
    image = await asyncio.to_thread(load_image, path)
    height, width = image.shape[:2]
    middle = (width / 2, height / 2)
    prediction = await sam.segment(image, points=[middle])
    mask = prediction.best_masks
    await asyncio.to_thread(
        lambda: write_picture(output, draw_overlay(image, mask, points=[middle]))
    )
    return f"{mask.sum()} pixels, score {prediction.scores.max():.2f}"


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
