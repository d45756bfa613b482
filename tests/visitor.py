"""Somebody who uses the gateway's page in a real browser."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, Request, expect
from pycocotools import mask as coco

# A busy machine may take its time.
PATIENCE = 180_000
expect.set_options(timeout=PATIENCE)

Mask = NDArray[np.bool_]


class Visitor:
    """A page, and what one does there.

    Args:
        page: an empty page of the browser.
        address: the gateway's.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.errors: list[str] = []
        self.requests: list[Request] = []
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.on("request", lambda request: self.requests.append(request))
        self.visit()

    def _note(self, message: Any) -> None:
        # Answers that are problems are there, too, and the page says what they are.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def visit(self) -> None:
        """Come, or come again."""
        self.page.goto(self.address)
        expect(self.page.locator("html[data-ready]")).to_be_attached()

    @property
    def status(self) -> Any:
        return self.page.locator("#status")

    @property
    def stage(self) -> Any:
        return self.page.locator("#stage")

    def open(self, *pictures: tuple[str, bytes] | Path) -> None:
        """Choose files, and wait until the first is open."""
        files: list[Any] = [
            picture
            if isinstance(picture, Path)
            else {"name": picture[0], "mimeType": "image/*", "buffer": picture[1]}
            for picture in pictures
        ]
        self.page.locator("#files").set_input_files(files)
        self.opened()

    def opened(self) -> None:
        expect(self.status).to_contain_text("Click on an object.")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is in the window.

        What comes beside the picture takes room from it, to which it is fitted a frame later.
        """
        left, top = self.page.evaluate(
            """async ([x, y]) => {
                const { stage: { element, view } } = await import("/page/main.js");
                const fits = () => view.stage.width === element.clientWidth
                    && view.stage.height === element.clientHeight;
                while (!fits()) await new Promise(requestAnimationFrame);
                const { left, top } = element.getBoundingClientRect();
                const [across, down] = view.toStage(x, y);
                return [left + across, top + down];
            }""",
            [x, y],
        )
        return left, top

    def click(self, x: float, y: float, *modifiers: Any, button: Any = "left") -> None:
        """Click on a pixel, and wait for the mask."""
        for key in modifiers:
            self.page.keyboard.down(key)
        self.page.mouse.click(*self.place(x, y), button=button)
        for key in modifiers:
            self.page.keyboard.up(key)
        self.answered()

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Press, move and let go."""
        self.page.mouse.move(*self.place(x0, y0))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(x1, y1), steps=4)
        self.page.mouse.up()

    def answered(self) -> None:
        """Wait until no object lacks its mask."""
        expect(self.page.locator("#objects .score", has_text="…")).to_have_count(0)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def prompts(self) -> list[dict[str, Any]]:
        """The prompts that were sent, previews among them."""
        return [
            json.loads(request.post_data)
            for request in self.requests
            if request.url.endswith("/masks") and request.post_data
        ]

    def uploads(self) -> int:
        """How often a picture was sent."""
        return sum(re.search("/v1/images($|[?])", request.url) is not None
                   for request in self.requests)  # fmt: skip

    def save(self, form: str, everything: bool = False) -> tuple[str, bytes]:
        """Save, and give the name and the content of the file."""
        self.page.locator("#save").click()
        dialog = self.page.locator("#save-dialog")
        dialog.locator(f"[name=format][value={form}]").check()
        scope = dialog.locator(f"[name=scope][value={'all' if everything else 'one'}]")
        if scope.is_visible():
            scope.check()
        with self.page.expect_download() as saving:
            dialog.get_by_role("button", name="Save", exact=True).click()
        saved = saving.value
        return saved.suggested_filename, Path(saved.path()).read_bytes()

    def annotations(self, everything: bool = False) -> dict[str, Any]:
        """What is saved as COCO."""
        name, content = self.save("coco", everything)
        assert name == "annotations.json"
        dataset: dict[str, Any] = json.loads(content)
        return dataset

    def masks(self) -> list[Mask]:
        """The masks of the picture's objects, as pycocotools reads them."""
        return [
            coco.decode(annotation["segmentation"]).astype(bool)
            for annotation in self.annotations()["annotations"]
        ]

    def shown(self, x: float, y: float) -> list[int]:
        """Red, green, blue and opacity of what is drawn above a pixel of the picture."""
        color: list[int] = self.page.evaluate(
            """async ([x, y]) => {
                const { stage } = await import("/page/main.js");
                const place = stage.view.toStage(x, y).map((at) => at * devicePixelRatio);
                const context = stage.canvases.masks.getContext("2d");
                return [...context.getImageData(...place.map(Math.floor), 1, 1).data];
            }""",
            [x, y],
        )
        return color

    def saw(self, x: float, y: float, there: bool = True) -> None:
        """Wait until a mask is drawn above a pixel, or none."""
        self.until(lambda: (self.shown(x, y)[3] > 0) is there)

    def stored(self, store: str, count: int) -> None:
        """Wait until the browser has stored so many of something: files, work on them, settings.

        What this page has stored there before is stored then: IndexedDB reads after it has written.
        """
        self.until(
            lambda: (
                self.page.evaluate(
                    """async (store) => {
                    const { Storage } = await import("/page/storage.js");
                    return (await (await Storage.open()).all(store)).length;
                }""",
                    store,
                )
                == count
            )
        )

    def kept(self, count: int) -> None:
        """Wait until the browser has stored so many objects with their masks, as for `stored`."""
        self.until(
            lambda: (
                self.page.evaluate(
                    """async () => {
                    const { Storage } = await import("/page/storage.js");
                    const works = await (await Storage.open()).all("work");
                    const items = works.flatMap(({ state }) => state.items);
                    return items.filter(({ answer }) => answer.masks).length;
                }"""
                )
                == count
            )
        )

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait, while the browser goes on, until something is so."""
        end = time.monotonic() + PATIENCE / 1000
        while not condition():
            assert time.monotonic() < end
            self.page.wait_for_timeout(20)


def entries(archive: bytes) -> dict[str, bytes]:
    """The files of a ZIP, each of which has the checksum that it says."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}
