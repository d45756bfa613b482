"""The page without a mouse, and for those who do not see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_masks import clicked
from page_pictures import BOX, DISC, GROUND, STRIPE
from playwright.sync_api import FileChooser, expect
from pycocotools import mask as coco
from visitor import Visitor

from slimsam_client import SlimSam


@pytest.fixture(scope="package")
def axe(node_modules: Path) -> str:
    """axe-core, which looks for what shuts people out."""
    return (node_modules / "axe-core/axe.min.js").read_text("utf-8")


def steer(visitor: Visitor, x: int, y: int) -> None:
    """Move the cursor to a pixel by arrow keys."""
    while True:
        text = visitor.status.inner_text()
        parts = text.split(", ")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            visitor.press("ArrowLeft")
            continue
        dx, dy = x - int(parts[0]), y - int(parts[1])
        if not dx and not dy:
            return
        if dx:
            key, distance = ("ArrowRight" if dx > 0 else "ArrowLeft"), abs(dx)
        else:
            key, distance = ("ArrowDown" if dy > 0 else "ArrowUp"), abs(dy)
        visitor.press(key if distance >= 10 else f"Shift+{key}")


def test_the_keyboard_alone_segments_undoes_and_saves(
    visitor: Visitor, sam: SlimSam, picture: bytes
) -> None:
    page = visitor.page
    # From here on the browser shows no dialog of its own; to say so with the key would be too late.
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    # The way to the button, as it is without a mouse.
    page.keyboard.press("Tab")
    expect(page.locator("#open")).to_be_focused()
    page.keyboard.press("Enter")
    visitor.until(lambda: bool(choosers))
    choosers[0].set_files({"name": "drawn.png", "mimeType": "image/png", "buffer": picture})
    visitor.opened()
    expect(visitor.stage).to_be_focused()

    steer(visitor, *STRIPE)
    visitor.press("Enter")
    visitor.answered()
    steer(visitor, *GROUND)
    visitor.press("Enter")
    visitor.answered()
    visitor.press("Control+z")
    steer(visitor, 200, 420)
    visitor.press("Alt+Enter")
    visitor.answered()
    visitor.press("n", "b")
    steer(visitor, 340, 60)
    visitor.press("Enter")
    steer(visitor, 579, 299)
    visitor.press("Enter")
    visitor.answered()
    visitor.press("l")
    page.keyboard.type("frame")
    visitor.press("Enter")

    with page.expect_download() as saving:
        visitor.press("Escape")  # from the label's field, where s is a letter
        expect(visitor.stage).to_be_focused()
        visitor.press("Control+s")
        visitor.press("Enter")
    dataset = json.loads(Path(saving.value.path()).read_bytes())
    expected = [
        clicked(sam, picture, (STRIPE, 1), ((200, 420), 0)).best_masks,
        sam.segment(picture, box=(340, 60, 580, 300)).best_masks,
    ]
    for annotation, mask in zip(dataset["annotations"], expected, strict=True):
        assert np.array_equal(coco.decode(annotation["segmentation"]), mask)
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    assert [names[annotation["category_id"]] for annotation in dataset["annotations"]] == [
        "object",
        "frame",
    ]


def test_single_keys_can_be_kept_to_the_picture(visitor: Visitor, picture: bytes) -> None:
    visitor.open(("drawn.png", picture))
    visitor.click(*DISC)
    visitor.press("?")
    visitor.page.locator("#single-keys").uncheck()
    visitor.press("Escape")
    visitor.page.locator("#undo").focus()
    visitor.press("Delete")
    expect(visitor.page.locator("#objects li")).to_have_count(1)
    visitor.stage.focus()
    visitor.press("Delete")
    expect(visitor.page.locator("#objects li")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious(
    width: int, scheme: str, come: Callable[..., Visitor], axe: str, picture: bytes
) -> None:
    visitor = come(color_scheme=scheme, viewport={"width": width, "height": 800})
    page = visitor.page
    page.evaluate(axe)

    def violations() -> list[str]:
        found = page.evaluate("axe.run()")["violations"]
        return [
            f"{one['id']}: {node['html']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    assert violations() == []
    visitor.open(("first.png", picture), ("second.png", picture))
    page.locator("#new-label").fill("sun")
    page.locator("#new-label").press("Enter")
    visitor.click(*DISC)
    visitor.press("n", "h")
    visitor.click(*BOX)
    assert violations() == []
    page.evaluate("document.querySelector('.hide').click()")
    for button in ("#save", "#help"):
        page.locator(button).click()
        assert violations() == []
        visitor.press("Escape")
