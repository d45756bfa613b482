"""Everything mode over image files: one file, or those of a folder that are not finished."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.batch.local_files import remove_parts
from slimsam_client.cli.files import read_file, write_whole
from slimsam_client.cli.folder import Folder
from slimsam_client.cli.image_input import decoded, read_image_file
from slimsam_client.cli.pictures import write_picture
from slimsam_client.cli.record_file import RecordFile, sha256
from slimsam_client.cli.status import UsageError
from slimsam_client.client import SlimSam
from slimsam_client.drawing.overlay import draw_records
from slimsam_client.errors import OF_AN_IMAGE, ImageError, SlimSamError
from slimsam_client.everything import GenerateSettings, Progress

ERRORS_OF_A_DISK: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
)
"""After these errors of the system no image's results can be written; after others, only this
image's cannot."""


@dataclass(frozen=True)
class Job:
    """How images are annotated.

    Attributes:
        sam: the client.
        settings: settings of everything mode.
        on_server: as for `SlimSam.generate`.
        timeout: as for `SlimSam.generate`.
    """

    sam: SlimSam
    settings: GenerateSettings
    on_server: bool | None
    timeout: float | None = None

    def annotate(
        self, content: bytes, name: str, progress: Progress | None = None
    ) -> tuple[RecordFile, NDArray[np.uint8]]:
        """Find the records of an image file's content; give its pixels, too."""
        pixels = decoded(content, name)
        records = self.sam.generate(content, self.settings, progress, self.on_server, self.timeout)
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
        job: how the images are annotated.
        folder: the folders of images and results.
        images: names of the images.
        pictures: whether to write overlays.
        concurrency: images under way at once.
        progress: called for each image that is done.

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
        except BaseException:  # also after Ctrl-C, what is under way ends and nothing begins
            pool.shutdown(wait=False, cancel_futures=True)
            job.sam.close()
            raise
    return [outcomes[image] for image in images]


def _outcome(job: Job, folder: Folder, image: str, pictures: bool) -> Outcome:
    try:
        return _annotate(job, folder, image, pictures)
    except OF_AN_IMAGE as error:
        return Outcome(image, error=error)
    except (OSError, UsageError) as error:
        cause = error.__cause__ if isinstance(error, UsageError) else error
        if isinstance(cause, OSError) and cause.errno in ERRORS_OF_A_DISK:
            raise
        if isinstance(error, UsageError):
            return Outcome(image, error=error)
        return Outcome(
            image, error=UsageError(f"cannot write its results: {error.strerror or error}")
        )
    except MemoryError:
        return Outcome(
            image,
            error=ImageError("expected an image that fits into memory, got one that does not"),
        )


def _annotate(job: Job, folder: Folder, image: str, pictures: bool) -> Outcome:
    content = read_image_file(folder.source / image)
    records, overlay = folder.records(image), folder.overlay(image)
    records.parent.mkdir(parents=True, exist_ok=True)
    for path in (records, overlay):
        _check_name(path)  # is checked before anything is computed for it
    found = _finished(records, content, job.settings)
    if found is not None:
        if pictures and not overlay.is_file():  # an earlier run was not asked for pictures
            picture = draw_records(decoded(content, image), found.records)
            write_picture(overlay, picture, follow_links=False)
        return Outcome(image, len(found.records), skipped=True)
    found, pixels = job.annotate(content, image)
    records.unlink(missing_ok=True)  # outdated records must not lie beside a newer picture
    if pictures:
        write_picture(overlay, draw_records(pixels, found.records), follow_links=False)
    else:
        overlay.unlink(missing_ok=True)
    # This file is written last, since it says that the image is finished.
    write_whole(records, found.to_json().encode(), follow_links=False)
    return Outcome(image, len(found.records))


def _check_name(path: Path) -> None:
    """Raise if no file can have this name: it is too long, say, or a directory's."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise UsageError(f"cannot write {path}: expected a file's name, got a directory")


def _finished(path: Path, content: bytes, settings: GenerateSettings) -> RecordFile | None:
    """The records that an earlier run found with these settings in this very image."""
    try:
        found = RecordFile.from_json(read_file(path), str(path))
    except (OSError, UsageError):
        return None
    return found if found.is_of(content, settings) else None
