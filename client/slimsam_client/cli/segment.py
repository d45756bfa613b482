"""`slimsam segment`: one object of an image by points, a box, or both."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from slimsam_client.cli.image_input import decoded, read_image_file
from slimsam_client.cli.messages import printable
from slimsam_client.cli.options import add_connection, add_json, connect
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import MASK_FORMATS, check_format, write_picture
from slimsam_client.cli.status import OK, UsageError
from slimsam_client.client import SlimSam
from slimsam_client.drawing.contact_sheet import side_by_side
from slimsam_client.drawing.overlay import draw_overlay
from slimsam_client.encodings import to_box
from slimsam_client.results import Prediction


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("image", type=Path, metavar="IMAGE", help="an image file, or a pipe")
    parser.add_argument(
        "--point",
        type=_point,
        action="append",
        default=[],
        metavar="X,Y[,0|1]",
        help="a click in pixels, 1 foreground (default) or 0 background; several are one prompt",
    )
    parser.add_argument("--box", type=_box, metavar="X0,Y0,X1,Y1", help="a box in pixels")
    parser.add_argument(
        "--best", action="store_true", help="draw the best mask alone, not all candidates"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT.png",
        help="write the masks over the image, in the format of the suffix: PNG, JPEG, WebP, BMP, "
        "TIFF; none: PNG",
    )
    parser.add_argument(
        "--mask-out",
        type=Path,
        metavar="MASK.png",
        help="write the best mask, 255 inside, else 0; PNG, BMP or TIFF, which change no pixel",
    )
    add_json(parser, "scores, areas and boxes")
    add_connection(parser, timeout=30)


def run(options: argparse.Namespace) -> int:
    """Segment, and write and print what was asked for."""
    if not options.point and options.box is None:
        raise UsageError("expected a prompt, got none; give --point X,Y or --box X0,Y0,X1,Y1")
    check_format(options.output)
    check_format(options.mask_out, MASK_FORMATS)
    check_outputs([options.output, options.mask_out], [options.image])
    points = [(x, y) for x, y, _ in options.point] or None
    labels = [label for _, _, label in options.point] or None
    content = read_image_file(options.image, pipes=True)
    image = decoded(content, str(options.image))
    start = time.perf_counter()
    with connect(options, SlimSam) as sam:
        kept = sam.upload(content)
        prediction = sam.predict(kept, points, labels, options.box, keep_masks=False)
    seconds = time.perf_counter() - start
    best = int(prediction.best)
    if options.output:
        masks = prediction.masks[best : best + 1] if options.best else prediction.masks
        pictures = [draw_overlay(image, mask, points, labels, options.box) for mask in masks]
        captions = [f"score {score:.2f}" for score in prediction.scores]
        write_picture(
            options.output, pictures[0] if options.best else side_by_side(pictures, captions)
        )
    if options.mask_out:
        write_picture(
            options.mask_out, Image.fromarray(prediction.masks[best].astype(np.uint8) * 255)
        )
    if options.json:
        print(json.dumps(_described(prediction, best, seconds)))
    else:
        area = int(prediction.masks[best].sum())
        written = [printable(path) for path in (options.output, options.mask_out) if path]
        print(
            f"mask of {area} pixels, score {prediction.scores[best]:.3f}, {seconds:.2f} s"
            + (f"; wrote {', '.join(written)}" if written else "")
        )
    return OK


def _described(prediction: Prediction, best: int, seconds: float) -> dict[str, Any]:
    height, width = prediction.masks.shape[1:]
    return {
        "width": width,
        "height": height,
        "best": best,
        "masks": [
            {"score": round(float(score), 6), "area": int(mask.sum()), "box": to_box(mask)}
            for mask, score in zip(prediction.masks, prediction.scores, strict=True)
        ],
        "seconds": round(seconds, 4),
    }


def _point(text: str) -> tuple[float, float, int]:
    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        label = int(parts[2]) if len(parts) == 3 else 1
        if label not in (0, 1):
            raise ValueError
        return _finite(parts[0]), _finite(parts[1]), label
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected X,Y or X,Y,1 (foreground) or X,Y,0 (background), got {text!r}"
        ) from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _box(text: str) -> tuple[float, ...]:
    try:
        box = tuple(_finite(part) for part in text.split(","))
        if len(box) != 4:
            raise ValueError
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected X0,Y0,X1,Y1, got {text!r}") from error
    return box
