"""`slimsam export-coco`: the records of a folder as one COCO annotations file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimsam_client.cli.files import write_whole
from slimsam_client.cli.folder import IMAGE_SUFFIXES
from slimsam_client.cli.options import add_quiet
from slimsam_client.cli.progress import shown_progress
from slimsam_client.cli.record_file import RecordFile
from slimsam_client.cli.status import FINE, UsageError
from slimsam_client.coco import coco_dataset
from slimsam_client.everything import MaskRecord, Progress

DEFAULT_NAME = "annotations.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="a folder that `slimsam everything` wrote to; folders below are read, too",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"default: {DEFAULT_NAME} in DIR; - is standard output",
    )
    add_quiet(parser)


def run(options: argparse.Namespace) -> int:
    """Convert."""
    files = sorted(
        path
        for path in options.directory.rglob("*.json")
        if path.stem.lower().endswith(IMAGE_SUFFIXES)
    )
    if not files:
        raise UsageError(
            f"{options.directory}: expected records of `slimsam everything` (a.jpg.json), "
            "found none; check the folder"
        )
    with shown_progress("images", options.quiet) as progress:
        dataset = coco_dataset(_images(files, progress))
    text = json.dumps(dataset)
    output = options.output or options.directory / DEFAULT_NAME
    if str(output) == "-":
        print(text)
        return FINE
    write_whole(output, text.encode())
    images, annotations = len(dataset["images"]), len(dataset["annotations"])
    print(f"{annotations} annotations of {images} images; wrote {output}")
    return FINE


def _images(
    files: Sequence[Path], progress: Progress
) -> Iterator[tuple[str, tuple[int, int], Sequence[MaskRecord]]]:
    seen: dict[str, Path] = {}
    for index, path in enumerate(files, 1):
        found = RecordFile.from_json(path.read_bytes(), str(path))
        if found.image in seen:
            raise UsageError(
                f"expected records of different images, got those of {found.image} in "
                f"{seen[found.image]} and {path}; export the folders one by one"
            )
        seen[found.image] = path
        yield found.image, found.size, found.records
        progress(index, len(files))
