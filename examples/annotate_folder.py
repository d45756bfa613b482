"""A folder of photos to one file of COCO annotations, with everything mode.

python examples/annotate_folder.py photos --settings '{"points_per_side": 16}' --output coco.json

The file is written whole at the end, or not at all. For work that should survive an interruption,
`slimsam everything FOLDER` goes on where it was, and `slimsam export-coco` makes the file of it.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from pathlib import Path

from slimsam_client import (
    GenerateSettings,
    ImageError,
    MaskRecord,
    SlimSam,
    SlimSamError,
    load_image,
)
from slimsam_client.cli.files import write_whole
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.integrations.coco import coco_dataset


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("coco.json"))
    parser.add_argument("--settings", default="{}", help="GenerateSettings as a JSON object")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each request")
    parser.add_argument("--url", default="localhost:8001", help="of the server's gRPC service")
    options = parser.parse_args()

    settings = GenerateSettings.from_json(options.settings)
    paths = sorted(path for path in options.folder.iterdir() if path.is_file())
    check_outputs([options.output], paths)  # before anything is computed
    with SlimSam(options.url, options.timeout) as sam:
        dataset = coco_dataset(annotate(sam, paths, settings))
    write_whole(options.output, json.dumps(dataset).encode())
    count = len(dataset["annotations"])
    print(f"{count} masks of {len(dataset['images'])} images are in {options.output}")


def annotate(
    sam: SlimSam, paths: Iterable[Path], settings: GenerateSettings
) -> Iterator[tuple[str, tuple[int, int], list[MaskRecord]]]:
    """Name, (height, width) and records of each image; what is no image is named and left out."""
    for path in paths:
        try:
            image = load_image(path)
        except ImageError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        height, width = image.shape[:2]
        records = sam.generate(image, settings)
        print(f"{path.name}: {len(records)} masks", flush=True)
        yield path.name, (height, width), records


if __name__ == "__main__":
    try:
        main()
    except (SlimSamError, OSError) as error:
        sys.exit(f"error: {error}")
