"""Everything mode: a mask for each object of a picture, in colors.

python examples/everything.py photo.jpg --points-per-side 16 --output everything.png

It runs here, with a request for each 16 points of the grid, so that there is progress to see;
with --on-server it runs beside the model, in one request.
"""

from __future__ import annotations

import dataclasses
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from slimsam_client import GenerateSettings, SlimSam, SlimSamError, draw_records, load_image
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import check_format, write_picture


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--output", type=Path, default=Path("everything.png"))
    parser.add_argument("--on-server", action="store_true")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each request")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    fields = dataclasses.fields(GenerateSettings)
    for field in fields:
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default,
            help=f"{field.metadata['text']}; default: %(default).4g",
        )  # fmt: skip
    options = parser.parse_args()
    settings = GenerateSettings(**{field.name: getattr(options, field.name) for field in fields})

    check_format(options.output)  # before anything is computed
    check_outputs([options.output], [options.image])
    image = load_image(options.image)
    with SlimSam(options.url, options.timeout) as sam:
        records = sam.generate(image, settings, show_progress, options.on_server)
    print(f"\n{len(records)} masks; the largest:", file=sys.stderr)
    for record in sorted(records, key=lambda record: -record.area)[:10]:
        x, y, width, height = record.bbox
        print(
            f"{record.area} pixels, {width:.0f} x {height:.0f} at ({x:.0f}, {y:.0f}), "
            f"predicted IoU {record.predicted_iou:.2f}, stability {record.stability_score:.2f}"
        )
    write_picture(options.output, draw_records(image, records))


def show_progress(done: int, total: int) -> None:
    print(f"\rrequest {done} of {total}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
