"""A folder of images, and the folder that its results go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Final

from slimsam_client.batch.locations import files_below, same_place
from slimsam_client.cli.outputs import check_apart
from slimsam_client.cli.status import UsageError
from slimsam_client.image.suffixes import IMAGE_SUFFIXES

PICTURES_PER_PAGE: Final = 60
"""A page of a contact sheet has at most so many pictures."""


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
        if same_place(str(self.output), str(self.source)):
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
        found = [
            name
            for name in files_below(str(self.source), recursive, str(self.output))
            if name.lower().endswith(IMAGE_SUFFIXES)
        ]
        if not found:
            raise UsageError(
                f"{self.source}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none"
                + ("" if recursive else "; --recursive looks into folders below")
            )
        return found

    def check(self, images: Sequence[str], pictures: bool) -> None:
        """Refuse results that would lie outside `output`, or destroy an image or each other.

        Args:
            images: names of the images that are annotated.
            pictures: whether overlays and contact sheets are written, too.

        Raises:
            UsageError: they would.
        """
        source, output = self.source.resolve(), self.output.resolve()
        for directory in {self.records(image).parent for image in images}:
            place = directory.resolve()
            if not place.is_relative_to(output):
                raise UsageError(
                    f"expected results to lie in {self.output}, but {directory} is a link to "
                    f"{place}; remove it, or give another folder"
                )
            if place.is_relative_to(source) and not output.is_relative_to(source):
                raise UsageError(
                    f"expected results apart from the images of {self.source}, but {directory} "
                    "lies there; overlays would be taken for images the next time; "
                    "give another folder"
                )
        outputs = [self.records(image) for image in images]
        if pictures:
            outputs += [self.overlay(image) for image in images]
            sheets = ceil(len(images) / PICTURES_PER_PAGE)
            outputs += [self.contact_sheet(page) for page in range(1, sheets + 1)]
            for path in outputs[-sheets:]:
                if path.is_dir() and not path.is_symlink():
                    raise UsageError(
                        f"cannot write {path}: expected a file's name, got a directory"
                    )
        check_apart(outputs, [self.source / image for image in images], follow_links=False)

    def records(self, image: str) -> Path:
        """Give the file of an image's records."""
        return self.output / f"{image}.json"

    def overlay(self, image: str) -> Path:
        """Give the file of an image's overlay."""
        return self.output / f"{image}.overlay.png"

    def contact_sheet(self, page: int) -> Path:
        """Give the file of a page of the contact sheet, counted from 1."""
        return self.output / ("contact-sheet.png" if page == 1 else f"contact-sheet-{page}.png")
