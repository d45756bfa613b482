"""Take the pictures of the page that the README and docs/annotation.md show: `make screenshots`.

They are of the demo checkpoint on a real tritonserver, whose artifacts `make demo` makes, in
chromium: page.webp, the page on a desktop; page.gif, from the first move of the mouse to three
objects.
"""

from __future__ import annotations

import io
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect, sync_playwright

from slimsam_gateway import GatewaySettings, create_app
from slimsam_gateway.listening import listening
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
SCENE = ROOT / "examples/scene.png"
DESKTOP = {"width": 1280, "height": 800}
SMALL = {"width": 960, "height": 700}
POINTER = [(0, 0), (0, 17), (4, 13), (7, 19), (10, 18), (7, 12), (12, 12)]


def main() -> None:
    """Take them all."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with (
        EmbeddedServer(ROOT / "model_repository") as server,
        gateway(server.grpc_url) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport=DESKTOP, color_scheme="light")
        Session(page, address).work()
        page.screenshot(path=(png := IMAGES / "page.png"))
        with Image.open(png) as picture:
            picture.convert("RGB").save(IMAGES / "page.webp", quality=88, method=6)
        png.unlink()
        session = Session(browser.new_page(viewport=SMALL, color_scheme="light"), address)
        session.films = True
        session.work()
        session.save(IMAGES / "page.gif")
        browser.close()


@contextmanager
def gateway(url: str) -> Iterator[str]:
    """Serve the page on a free port, in a thread; give its address."""
    app = create_app(GatewaySettings(url=url), io.StringIO())
    running = uvicorn.Server(listening(app, "127.0.0.1", 0, log_config=None))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    running.should_exit = True
    thread.join()


class Session:
    """Somebody who works in the page, while frames are taken.

    Args:
        page: an empty page.
        address: of the gateway.

    Attributes:
        films: whether frames are taken.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.films = False
        self._page = page
        self._mouse = (page.viewport_size or SMALL)["width"] / 2, 300.0
        self._frames: list[tuple[Image.Image, int]] = []
        page.goto(address)
        page.locator("#files").set_input_files(SCENE)
        expect(page.locator("#status")).to_contain_text("Click on an object.")

    def work(self) -> None:
        """Make three objects, two of them with labels."""
        self._label("tree")
        self._frame(900)
        self._move(540, 560)
        self._move(760, 340)
        self._click(760, 340)
        self._done()
        self._label("sun")
        self._drag((808, 174), (1014, 340))
        self._done()
        self._page.locator("[data-label='-']").click()
        self._move(540, 540)
        self._click(540, 540)
        self._frame(1800)

    def save(self, path: Path) -> None:
        """Write the animation."""
        frames = [frame for frame, _ in self._frames]
        # Some colors are in few frames, so the palette is made of several; and of few pixels, which
        # an octree keeps.
        sheet = Image.new("RGB", (frames[0].width, frames[0].height * len(frames[::4])))
        for index, frame in enumerate(frames[::4]):
            sheet.paste(frame, (0, index * frame.height))
        palette = sheet.quantize(method=Image.Quantize.FASTOCTREE)
        first, *others = (
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
        )
        durations = [duration for _, duration in self._frames]
        first.save(path, save_all=True, append_images=others, duration=durations, loop=0)

    def _label(self, name: str) -> None:
        self._page.locator("#new-label").fill(name)
        self._page.locator("#new-label").press("Enter")

    def _done(self) -> None:
        self._page.get_by_role("button", name="Done").click()

    def _place(self, x: float, y: float) -> tuple[float, float]:
        left, top = self._page.evaluate(
            "async at => (await import('/page/main.js')).stage.view.toStage(...at)", [x, y]
        )
        bounds = self._page.locator("#stage").bounding_box()
        assert bounds is not None
        return bounds["x"] + left, bounds["y"] + top

    def _move(self, x: float, y: float) -> None:
        """Move the mouse to a pixel of the picture, previews behind it."""
        (x0, y0), (x1, y1) = self._mouse, self._place(x, y)
        for step in range(1, 6):
            self._mouse = x0 + (x1 - x0) * step / 5, y0 + (y1 - y0) * step / 5
            self._page.mouse.move(*self._mouse)
            self._page.wait_for_timeout(150)
            self._frame(90)
        self._page.wait_for_timeout(600)
        self._frame(500)

    def _click(self, x: float, y: float) -> None:
        self._mouse = self._place(x, y)
        self._page.mouse.click(*self._mouse)
        self._answer()

    def _answer(self) -> None:
        expect(self._page.locator("#objects .score", has_text="…")).to_have_count(0)
        expect(self._page.locator("#status")).to_contain_text("score")
        self._page.wait_for_timeout(300)
        self._frame(1000)

    def _drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        self._page.locator("[data-tool=box]").click()
        self._move(*start)
        self._page.mouse.down()
        self._move(*end)
        self._page.mouse.up()
        self._answer()

    def _frame(self, milliseconds: int) -> None:
        if not self.films:
            return
        frame = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        x, y = self._mouse
        pointer = [(x + dx, y + dy) for dx, dy in POINTER]
        ImageDraw.Draw(frame).polygon(pointer, fill="black", outline="white")
        self._frames.append((frame, milliseconds))


if __name__ == "__main__":
    main()
