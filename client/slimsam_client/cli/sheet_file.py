"""The contact sheet of a folder: its overlays with their names, on as many pages as they fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

from PIL import Image

from slimsam_client.cli.annotate import Outcome
from slimsam_client.cli.files import write_picture
from slimsam_client.cli.folder import Folder
from slimsam_client.contact_sheet import contact_sheet
from slimsam_client.everything import Progress
from slimsam_client.image import load_image

PICTURES_PER_PAGE: Final = 60


def write_contact_sheet(folder: Folder, outcomes: Sequence[Outcome], progress: Progress) -> None:
    """Write the pages, and remove those that a larger folder once had.

    Args:
        folder: where.
        outcomes: images that have an overlay; if there is none, no page is left.
        progress: told about each picture that is on its page.

    Raises:
        ImageError: an overlay is damaged.
    """

    def overlays(start: int, page: Sequence[Outcome]) -> Iterator[Image.Image]:
        for index, outcome in enumerate(page, start + 1):
            yield Image.fromarray(load_image(folder.overlay(outcome.image)))
            progress(index, len(outcomes))

    starts = range(0, len(outcomes), PICTURES_PER_PAGE)
    for number, start in enumerate(starts, 1):
        page = outcomes[start : start + PICTURES_PER_PAGE]
        captions = [f"{outcome.image} · {outcome.masks} masks" for outcome in page]
        sheet = contact_sheet(overlays(start, page), captions)
        write_picture(folder.contact_sheet(number), sheet)
    for number in count(len(starts) + 1):
        if not folder.contact_sheet(number).exists():
            return
        folder.contact_sheet(number).unlink()
