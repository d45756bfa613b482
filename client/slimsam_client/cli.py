"""`slimsam`: segment an image from the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.client import SlimSam
from slimsam_client.errors import ImageError, PromptError, SlimSamError
from slimsam_client.image import load_image
from slimsam_client.overlay import draw_overlay, side_by_side
from slimsam_client.results import Prediction


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 if the server could not answer; 2 if the image, a prompt or an option is wrong.
    """
    options = _parser().parse_args(arguments)
    try:
        return _segment(options)
    except SlimSamError as error:
        print(f"slimsam: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ImageError | PromptError) else 1
    except OSError as error:
        print(f"slimsam: error: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def _segment(options: argparse.Namespace) -> int:
    points = [(x, y) for x, y, _ in options.point] or None
    labels = [label for _, _, label in options.point] or None
    image = load_image(options.image)
    start = time.perf_counter()
    with SlimSam(options.url, options.timeout) as sam:
        prediction = sam.segment(image, points, labels, options.box)
    seconds = time.perf_counter() - start
    best = int(prediction.best)
    if options.output:
        pictures = [
            draw_overlay(image, mask, points, labels, options.box) for mask in prediction.masks
        ]
        captions = [f"score {score:.2f}" for score in prediction.scores]
        picture = pictures[best] if options.best else side_by_side(pictures, captions)
        _save(picture, options.output)
    if options.mask_out:
        _save(Image.fromarray(prediction.masks[best].astype(np.uint8) * 255), options.mask_out)
    if options.json:
        print(json.dumps(_described(prediction, best, seconds)))
    else:
        area = int(prediction.masks[best].sum())
        written = [str(path) for path in (options.output, options.mask_out) if path]
        print(
            f"mask of {area} pixels, score {prediction.scores[best]:.3f}, {seconds:.2f} s"
            + (f"; wrote {', '.join(written)}" if written else "")
        )
    return 0


def _described(prediction: Prediction, best: int, seconds: float) -> dict[str, Any]:
    height, width = prediction.masks.shape[1:]
    return {
        "width": width,
        "height": height,
        "best": best,
        "masks": [
            {"score": round(float(score), 6), "area": int(mask.sum()), "box": _bounds(mask)}
            for mask, score in zip(prediction.masks, prediction.scores, strict=True)
        ],
        "seconds": round(seconds, 4),
    }


def _bounds(mask: NDArray[np.bool_]) -> list[int] | None:
    """x0, y0, x1, y1 of a mask, right and lower edge exclusive; None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def _save(picture: Image.Image, path: Path) -> None:
    """Write a picture whole or not at all."""
    try:
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".png")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            picture.save(file, "PNG")
        # mkstemp makes private files; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _point(text: str) -> tuple[float, float, int]:
    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        label = int(parts[2]) if len(parts) == 3 else 1
        return float(parts[0]), float(parts[1]), label
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected X,Y or X,Y,1 (foreground) or X,Y,0 (background), got {text!r}"
        ) from error


def _box(text: str) -> tuple[float, ...]:
    try:
        box = tuple(float(part) for part in text.split(","))
        if len(box) != 4:
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected X0,Y0,X1,Y1, got {text!r}") from error
    return box


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
        if not 0 < seconds < float("inf"):
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}") from error
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="slimsam", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    segment = commands.add_parser(
        "segment",
        help="segment one object of an image by points, a box, or both",
        description="Segment one object of an image by points, a box, or both.",
    )
    segment.add_argument("image", metavar="IMAGE", help="an image file")
    segment.add_argument(
        "--point",
        type=_point,
        action="append",
        default=[],
        metavar="X,Y[,0|1]",
        help="a click in pixels, 1 foreground (default) or 0 background; several are one prompt",
    )
    segment.add_argument("--box", type=_box, metavar="X0,Y0,X1,Y1", help="a box in pixels")
    segment.add_argument(
        "--best", action="store_true", help="draw the best mask alone, not all candidates"
    )
    segment.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="write the masks over the image"
    )
    segment.add_argument(
        "--mask-out", type=Path, metavar="MASK.png", help="write the best mask, 255 inside, else 0"
    )
    segment.add_argument("--json", action="store_true", help="print the result as JSON")
    segment.add_argument(
        "--url", default="localhost:8001", metavar="HOST:PORT", help="default: %(default)s"
    )
    segment.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="default: %(default)s seconds"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
