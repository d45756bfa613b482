"""One click on a photo: its best mask, drawn over it.

python examples/one_click.py photo.jpg --point 420 310 --output one_click.png --url localhost:8001
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from slimsam_client import SlimSam, SlimSamError, draw_overlay, load_image
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import check_format, write_picture


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--point", type=float, nargs=2, metavar=("X", "Y"), required=True)
    parser.add_argument("--output", type=Path, default=Path("one_click.png"))
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()

    check_format(options.output)  # before anything is computed
    check_outputs([options.output], [options.image])
    image = load_image(options.image)
    with SlimSam(options.url) as sam:
        # One click is ambiguous, a button or the shirt it is on: SAM gives three candidates.
        click = sam.segment(image, points=[options.point])
    for mask, score in zip(click.masks, click.scores, strict=True):
        print(f"a mask of {mask.sum()} pixels, score {score:.2f}")
    picture = draw_overlay(image, click.best_masks, points=[options.point])
    write_picture(options.output, picture)
    print(f"the best is in {options.output}")


if __name__ == "__main__":
    try:
        main()
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
