"""Many boxes of one image in one call, each mask in a color of its own.

python examples/boxes.py photo.jpg --box 100 80 640 500 --box 30 40 90 120 --output boxes.png
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

import numpy as np
from PIL import Image

from slimsam_client import SlimSam, SlimSamError, draw_overlay, load_image
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import check_format, write_picture
from slimsam_client.drawing.colors import distinct_colors


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument(
        "--box", type=float, nargs=4, metavar=("X0", "Y0", "X1", "Y1"), action="append",
        required=True, help="in pixels; give it as often as there are boxes",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("boxes.png"))
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()

    check_format(options.output)  # before anything is computed
    check_outputs([options.output], [options.image])
    image = load_image(options.image)
    with SlimSam(options.url) as sam:
        # A box says what is meant, so one mask for each is enough.
        prediction = sam.segment(image, box=options.box, multimask_output=False)
    masks, scores = prediction.masks[:, 0], prediction.scores[:, 0]  # (P, H, W) and (P,)

    picture = image
    colors = distinct_colors(len(masks))
    for box, mask, score, color in zip(options.box, masks, scores, colors, strict=True):
        print(f"{mask.sum()} pixels, score {score:.2f}, in the box {box}")
        picture = np.asarray(draw_overlay(picture, mask, box=box, color=color))
    write_picture(options.output, Image.fromarray(picture))
    print(f"all of them are in {options.output}")


if __name__ == "__main__":
    try:
        main()
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
