"""`slimsam export-coco`: the records of a folder as one COCO annotations file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from slimsam_client.cli.files import read_file, write_whole
from slimsam_client.cli.messages import printable
from slimsam_client.cli.options import add_quiet
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.progress import shown_progress
from slimsam_client.cli.record_file import RecordFile
from slimsam_client.cli.status import OK, UsageError
from slimsam_client.everything import MaskRecord, Progress
from slimsam_client.image.suffixes import IMAGE_SUFFIXES
from slimsam_client.integrations.coco import coco_dataset

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
        help=f"a .json file; default: {DEFAULT_NAME} in DIR; - is standard output",
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
    output = options.output or options.directory / DEFAULT_NAME
    to_standard_output = str(output) == "-"
    if not to_standard_output:
        _check_name(output)
        check_outputs([output], files)
    with shown_progress("images", options.quiet) as progress:
        dataset = coco_dataset(_images(files, progress))
    text = json.dumps(dataset)
    if to_standard_output:
        print(text)
        return OK
    write_whole(output, text.encode())
    images, annotations = len(dataset["images"]), len(dataset["annotations"])
    print(f"{annotations} annotations of {images} images; wrote {printable(output)}")
    return OK


def _check_name(path: Path) -> None:
    if path.suffix and path.suffix.lower() != ".json":
        raise UsageError(
            f"cannot write {path}: expected a name that ends in .json or has no suffix, "
            f"got {path.suffix}"
        )
    if path.suffix and path.stem.lower().endswith(IMAGE_SUFFIXES):
        raise UsageError(
            f"cannot write {path}: expected another name, for this one is of an image's records"
        )


def _images(
    files: Sequence[Path], progress: Progress
) -> Iterator[tuple[str, tuple[int, int], Sequence[MaskRecord]]]:
    seen: dict[str, Path] = {}
    for index, path in enumerate(files, 1):
        found = RecordFile.from_json(read_file(path), str(path))
        if found.image in seen:
            raise UsageError(
                f"expected records of different images, got those of {found.image} in "
                f"{seen[found.image]} and {path}; export the folders one by one"
            )
        seen[found.image] = path
        yield found.image, found.size, found.records
        progress(index, len(files))
