"""The contact sheet of a folder fills as many pages as it needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from slimsam_client.cli.annotate import Outcome
from slimsam_client.cli.folder import Folder
from slimsam_client.cli.sheet_file import PICTURES_PER_PAGE, write_contact_sheet


def test_pages_come_and_go(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "in", tmp_path)
    outcomes = [Outcome(f"{index:03}.png", masks=index) for index in range(PICTURES_PER_PAGE + 1)]
    for outcome in outcomes:
        Image.new("RGB", (64, 48), (200, 30, 30)).save(folder.overlay(outcome.image))
    calls: list[tuple[int, int]] = []
    write_contact_sheet(folder, outcomes, lambda done, total: calls.append((done, total)))
    assert calls == [(index, len(outcomes)) for index in range(1, len(outcomes) + 1)]
    pages = {}
    for page in (1, 2):
        with Image.open(folder.contact_sheet(page)) as sheet:
            pages[page] = np.asarray(sheet)
    red = {page: int((pixels == (200, 30, 30)).all(-1).sum()) for page, pixels in pages.items()}
    assert red[1] == PICTURES_PER_PAGE * red[2] > 0
    write_contact_sheet(folder, outcomes[:3], lambda done, total: None)
    assert [path.name for path in tmp_path.glob("contact-sheet*")] == ["contact-sheet.png"]
