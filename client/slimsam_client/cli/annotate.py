"""Everything mode over image files: one, or those of a folder that are not finished."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.cli.files import remove_parts, write_picture, write_whole
from slimsam_client.cli.folder import Folder
from slimsam_client.cli.record_file import RecordFile, sha256
from slimsam_client.cli.status import UsageError
from slimsam_client.client import SlimSam
from slimsam_client.errors import (
    ImageError,
    InvalidRequestError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerError,
    SlimSamError,
)
from slimsam_client.everything import GenerateSettings, Progress
from slimsam_client.image import load_image
from slimsam_client.overlay import draw_records

ERRORS_OF_AN_IMAGE: Final = (
    ImageError,
    InvalidRequestError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerError,
)
"""After these the next image may fare better; after any other, none will."""


@dataclass(frozen=True)
class Job:
    """How images are annotated.

    Attributes:
        sam: the client.
        settings: of everything mode.
        on_server: as for `SlimSam.generate`.
    """

    sam: SlimSam
    settings: GenerateSettings
    on_server: bool | None

    def annotate(
        self, content: bytes, name: str, progress: Progress | None = None
    ) -> tuple[RecordFile, NDArray[np.uint8]]:
        """Find the records of an image file's content; give its pixels, too."""
        pixels = _pixels(content, name)
        records = self.sam.generate(content, self.settings, progress, self.on_server)
        height, width = pixels.shape[:2]
        return RecordFile(name, (height, width), sha256(content), self.settings, records), pixels


@dataclass(frozen=True)
class Outcome:
    """What became of an image of a folder.

    Attributes:
        image: its name.
        masks: how many it has; None if it failed.
        skipped: whether it was finished before.
        error: why it failed.
    """

    image: str
    masks: int | None = None
    skipped: bool = False
    error: SlimSamError | None = None


def annotate_folder(
    job: Job,
    folder: Folder,
    images: Sequence[str],
    pictures: bool,
    concurrency: int,
    progress: Progress,
) -> list[Outcome]:
    """Write the records of each image, and an overlay; those that have them are skipped.

    Args:
        job: how.
        folder: where.
        images: names of the images.
        pictures: whether to write overlays.
        concurrency: images under way at once.
        progress: told about each image that is done.

    Returns:
        The outcomes, in the order of `images`.

    Raises:
        SlimSamError: nothing can go on: the server is gone, or the disk is full. What was finished
            until then is kept.
        OSError: the folder of results cannot be made.
    """
    folder.output.mkdir(parents=True, exist_ok=True)
    remove_parts(folder.output)
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(concurrency, "slimsam") as pool:
        futures = [pool.submit(_outcome, job, folder, image, pictures) for image in images]
        try:
            for future in as_completed(futures):
                outcome = future.result()
                outcomes[outcome.image] = outcome
                progress(len(outcomes), len(images))
        except BaseException:  # Ctrl-C among them: end what is under way, begin nothing
            pool.shutdown(wait=False, cancel_futures=True)
            job.sam.close()
            raise
    return [outcomes[image] for image in images]


def read_image_file(path: Path) -> bytes:
    """Read an image file as it is.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"{path}: expected a readable image file, got {error.strerror}; check the path"
        ) from error


def _outcome(job: Job, folder: Folder, image: str, pictures: bool) -> Outcome:
    try:
        return _annotate(job, folder, image, pictures)
    except ERRORS_OF_AN_IMAGE as error:
        return Outcome(image, error=error)


def _annotate(job: Job, folder: Folder, image: str, pictures: bool) -> Outcome:
    content = read_image_file(folder.source / image)
    records, overlay = folder.records(image), folder.overlay(image)
    found = _finished(records, content, job.settings)
    if found is not None:
        if pictures and not overlay.exists():  # an earlier run was to draw none
            write_picture(overlay, draw_records(_pixels(content, image), found.records))
        return Outcome(image, len(found.records), skipped=True)
    found, pixels = job.annotate(content, image)
    records.parent.mkdir(parents=True, exist_ok=True)
    records.unlink(missing_ok=True)  # outdated ones; never beside a picture that is newer
    if pictures:
        write_picture(overlay, draw_records(pixels, found.records))
    else:
        overlay.unlink(missing_ok=True)
    write_whole(records, found.to_json().encode())  # last: it says that the image is finished
    return Outcome(image, len(found.records))


def _finished(path: Path, content: bytes, settings: GenerateSettings) -> RecordFile | None:
    """The records that an earlier run found with these settings in this very image."""
    try:
        found = RecordFile.from_json(path.read_bytes(), str(path))
    except (OSError, UsageError):
        return None
    return found if found.is_of(content, settings) else None


def _pixels(content: bytes, name: str) -> NDArray[np.uint8]:
    file = io.BytesIO(content)
    file.name = name  # for the messages of load_image
    return load_image(file)
