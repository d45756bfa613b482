"""The contact sheet of a folder: its overlays with their names, on as many pages as they fill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from PIL import Image

from slimsam_client.cli.annotate import Outcome
from slimsam_client.cli.folder import PICTURES_PER_PAGE, Folder
from slimsam_client.cli.messages import printable
from slimsam_client.cli.pictures import write_picture
from slimsam_client.drawing.contact_sheet import contact_sheet
from slimsam_client.everything import Progress
from slimsam_client.image.load import load_image


def write_contact_sheet(folder: Folder, outcomes: Sequence[Outcome], progress: Progress) -> None:
    """Write the pages, and remove those that a larger folder once had.

    Args:
        folder: the folders of images and results.
        outcomes: images that have an overlay; if there is none, no page is left.
        progress: called for each picture that is on its page.

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
        captions = [f"{printable(outcome.image)} · {outcome.masks} masks" for outcome in page]
        sheet = contact_sheet(overlays(start, page), captions)
        write_picture(folder.contact_sheet(number), sheet, follow_links=False)
    for number in count(len(starts) + 1):
        outdated = folder.contact_sheet(number)
        if not outdated.is_file() and not outdated.is_symlink():
            return
        outdated.unlink()
