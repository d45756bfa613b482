"""A folder of images, and the folder that its results go to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from slimsam_client.cli.status import UsageError

IMAGE_SUFFIXES: Final = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
"""What counts as an image, in capitals too; the rest of a folder is left alone."""


@dataclass(frozen=True)
class Folder:
    """Where images are read, and where their results are written.

    An image is known by its path below `source`, with slashes. Its whole name stays in those of its
    results, so that a.jpg and a.png keep apart.

    Attributes:
        source: the folder of images.
        output: the folder of results; not `source`, for overlays are images, too.
    """

    source: Path
    output: Path

    def __post_init__(self) -> None:
        if self.output.resolve() == self.source.resolve():
            raise UsageError(
                f"expected -o with a folder other than {self.source}, got the same; "
                "overlays would be taken for images the next time"
            )

    def images(self, recursive: bool) -> list[str]:
        """List the images, sorted; hidden ones are left out, and so is what lies in `output`.

        Raises:
            UsageError: there is none.
            OSError: a folder cannot be read.
        """
        found = []
        output = self.output.resolve()
        for directory, below, files in os.walk(self.source, onerror=_unreadable):
            below[:] = [
                name
                for name in below
                if recursive
                and not name.startswith(".")
                and Path(directory, name).resolve() != output
            ]
            found += [
                Path(directory, name).relative_to(self.source).as_posix()
                for name in files
                if name.lower().endswith(IMAGE_SUFFIXES)
                and not name.startswith(".")
                and not Path(directory, name).is_fifo()  # nobody may ever write to it
            ]
        if not found:
            raise UsageError(
                f"{self.source}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none"
                + ("" if recursive else "; --recursive looks into folders below")
            )
        return sorted(found)

    def records(self, image: str) -> Path:
        """Give the file of an image's records."""
        return self.output / f"{image}.json"

    def overlay(self, image: str) -> Path:
        """Give the file of an image's overlay."""
        return self.output / f"{image}.overlay.png"

    def contact_sheet(self, page: int) -> Path:
        """Give the file of a page of the contact sheet, counted from 1."""
        return self.output / ("contact-sheet.png" if page == 1 else f"contact-sheet-{page}.png")


def _unreadable(error: OSError) -> NoReturn:
    raise error
