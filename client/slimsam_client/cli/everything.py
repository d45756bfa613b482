"""`slimsam everything`: a mask for each object of an image, or of all images of a folder."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from slimsam_client.cli.annotate import Job, annotate_folder
from slimsam_client.cli.folder import Folder
from slimsam_client.cli.image_input import read_image_file
from slimsam_client.cli.messages import complain, printable
from slimsam_client.cli.options import (
    add_connection,
    add_json,
    add_quiet,
    add_settings,
    add_where,
    connect,
    count,
    settings_of,
)
from slimsam_client.cli.outputs import check_outputs
from slimsam_client.cli.pictures import check_format, write_picture
from slimsam_client.cli.progress import shown_progress
from slimsam_client.cli.sheet_file import write_contact_sheet
from slimsam_client.cli.status import FAILED, OK, UsageError
from slimsam_client.client import SlimSam
from slimsam_client.drawing.overlay import draw_records

CONCURRENCY = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options; the settings' are those of `GenerateSettings`."""
    parser.add_argument("source", type=Path, metavar="IMAGE|DIR", help="an image file, or a folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="of an image: write the masks over it, in the format of the suffix (PNG, JPEG, WebP, "
        "BMP, TIFF; none: PNG); of a folder: the folder to write to",
    )
    add_json(parser, "the records of an image, or what became of a folder's images,")
    add_quiet(parser)
    add_where(parser)
    folder = parser.add_argument_group("folders")
    folder.add_argument(
        "-r", "--recursive", action="store_true", help="take the images of folders below, too"
    )
    folder.add_argument(
        "--no-pictures",
        action="store_false",
        dest="pictures",
        help="write records alone, no overlays and no contact sheet",
    )
    folder.add_argument(
        "--concurrency",
        type=count,
        default=CONCURRENCY,
        metavar="N",
        help="images under way at once; default: %(default)s",
    )
    add_settings(parser)
    add_connection(parser, timeout=300)


def run(options: argparse.Namespace) -> int:
    """Segment everything, and write and print what was asked for."""
    with connect(options, SlimSam) as sam:
        job = Job(sam, settings_of(options), options.on_server, options.timeout)
        return (_run_folder if options.source.is_dir() else _run_image)(options, job)


def _run_image(options: argparse.Namespace, job: Job) -> int:
    check_format(options.output)
    check_outputs([options.output], [options.source])
    content = read_image_file(options.source, pipes=True)
    start = time.perf_counter()
    with shown_progress("requests", options.quiet) as progress:
        found, pixels = job.annotate(content, options.source.name, progress)
    seconds = time.perf_counter() - start
    if options.output:
        write_picture(options.output, draw_records(pixels, found.records))
    if options.json:
        print(found.to_json())
    else:
        written = f"; wrote {printable(options.output)}" if options.output else ""
        print(f"{len(found.records)} masks, {seconds:.2f} s{written}")
    return OK


def _run_folder(options: argparse.Namespace, job: Job) -> int:
    if options.output is None:
        raise UsageError("expected -o with the folder to write to, got none")
    folder = Folder(options.source, options.output)
    images = folder.images(options.recursive)
    folder.check(images, options.pictures)
    try:
        with shown_progress("images", options.quiet) as progress:
            outcomes = annotate_folder(
                job, folder, images, options.pictures, options.concurrency, progress
            )
    except BaseException:
        complain("stopped; run the same command again to go on")
        raise
    done = [outcome for outcome in outcomes if outcome.error is None]
    failed = {
        outcome.image: str(outcome.error).removeprefix(f"{outcome.image}: ")
        for outcome in outcomes
        if outcome.error
    }
    skipped = [outcome.image for outcome in done if outcome.skipped]
    annotated = [outcome.image for outcome in done if not outcome.skipped]
    shown = done if options.pictures else []
    if shown or annotated:  # otherwise the sheet of an earlier run is still right
        with shown_progress("contact sheet", options.quiet) as progress:
            write_contact_sheet(folder, shown, progress)
    if options.json:
        print(json.dumps({"annotated": annotated, "skipped": skipped, "failed": failed}))
    else:
        print(
            f"{len(annotated)} images annotated, {len(skipped)} were finished before, "
            f"{len(failed)} failed; wrote {printable(options.output)}"
        )
    for image, error in failed.items():
        complain(f"failed: {image}: {error}")
    return FAILED if failed else OK
