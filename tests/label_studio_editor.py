"""Somebody who annotates in Label Studio's editor, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from label_studio_process import EMAIL, PASSWORD, LabelStudio
from playwright.sync_api import Page, Request, TimeoutError, expect

# A busy machine may take its time.
PATIENCE = 180_000
expect.set_options(timeout=PATIENCE)
ATTEMPTS, SETTLING, ANSWERING = 10, 500, 5_000
"""How often something is clicked, and milliseconds before and after each."""
POINT, BOX = 1, 2
"""The rows of labels, from 0, in the order of the documentation's configuration."""
SMART_TOOLS = {POINT: "key-point-tool", BOX: "rectangle-tool"}


@dataclass(frozen=True)
class Asked:
    """What the editor asked the ML backend, and what came.

    Attributes:
        regions: those of the request.
        result: those of the answer.
        milliseconds: from the click until the mask was among the suggestions.
    """

    regions: list[dict[str, Any]]
    result: list[dict[str, Any]]
    milliseconds: float


class Editor:
    """A page of Label Studio, and what one does there.

    Args:
        page: an empty page of the browser.
        studio: the Label Studio.
    """

    def __init__(self, page: Page, studio: LabelStudio) -> None:
        self.page = page
        self._url = studio.url
        self._row: int | None = None
        page.set_default_timeout(PATIENCE)
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda address: "/user/login" not in address)

    def open(self, project: int, task: int) -> None:
        """Open a task, with the smart tools."""
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(
            "() => window.Htx?.annotationStore?.selected?.names.get('image')?.stageWidth > 1"
        )
        if not self.page.evaluate("Htx.autoAnnotation"):  # the browser keeps it
            self.page.get_by_text("Auto-Annotation").click()
        self.page.locator(".lsf-tool_smart").first.click()
        expect(self.page.locator(".lsf-tool_smart.lsf-tool_active").first).to_be_visible()
        self._row = None  # the browser keeps which smart tool it was

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the picture is in the window."""
        bounds = self.page.locator(".konvajs-content").first.bounding_box()
        assert bounds is not None
        width, height = self.page.evaluate(
            """() => {
                const image = Htx.annotationStore.selected.names.get("image");
                return [image.naturalWidth, image.naturalHeight];
            }"""
        )
        return bounds["x"] + x * bounds["width"] / width, bounds["y"] + y * bounds[
            "height"
        ] / height

    def click(self, x: float, y: float, *, positive: bool = True) -> Asked:
        """Click on a pixel, and wait for the suggestion."""
        at = self.place(x, y)
        if not positive:
            self.page.keyboard.down("Alt")
        asked = self._asking(POINT, lambda: self.page.mouse.click(*at))
        if not positive:
            self.page.keyboard.up("Alt")
        return asked

    def drag(self, x0: float, y0: float, x1: float, y1: float) -> Asked:
        """Draw a box, and wait for the suggestion."""
        start, end = self.place(x0, y0), self.place(x1, y1)

        def draw() -> None:
            self.page.mouse.move(*start)
            self.page.mouse.down()
            self.page.mouse.move(*end, steps=5)
            self.page.mouse.up()

        return self._asking(BOX, draw)

    def accept(self) -> None:
        """Make a region of the suggestion."""
        before = self.masks()
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        self.page.wait_for_function(
            """before => {
                const { regions, suggestions } = Htx.annotationStore.selected;
                const brushes = regions.filter(({ type }) => type === "brushregion");
                return brushes.length === before + 1 && suggestions.size === 0;
            }""",
            arg=before,
        )

    def masks(self) -> int:
        """How many regions of the annotation are masks."""
        count: int = self.page.evaluate(
            "() => Htx.annotationStore.selected.regions.filter(({ type }) => type === "
            "'brushregion').length"
        )
        return count

    def submit(self) -> None:
        with self.page.expect_response(
            lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
        ) as submitted:
            self.page.get_by_role("button", name="Submit current annotation").click()
        assert submitted.value.ok

    def _choose(self, row: int) -> None:
        """Choose a row's tool and label; after each click the editor wants the label again."""
        if row != self._row:
            # The others are beside the one that was used last, below the mouse.
            self.page.locator(".lsf-tool_smart").first.hover()
            self.page.locator(f"[aria-label='{SMART_TOOLS[row]}']").click()
            self._row = row
        labels = self.page.locator(".lsf-labels").nth(row)
        if labels.locator(".lsf-label_selected").count() == 0:
            labels.locator(".lsf-label").first.click()
            expect(labels.locator(".lsf-label_selected")).to_have_count(1)

    def _asking(self, row: int, act: Callable[[], None]) -> Asked:
        known: str | None = self.page.evaluate(
            "() => [...Htx.annotationStore.selected.suggestions.values()][0]?.id ?? null"
        )
        for _ in range(ATTEMPTS):
            self._choose(row)
            # A moment after a suggestion the editor lets go of the label, and a click does nothing.
            self.page.wait_for_timeout(SETTLING)
            with suppress(TimeoutError):
                with self.page.expect_request(_is_interactive, timeout=ANSWERING) as asking:
                    began: float = self.page.evaluate("performance.now()")
                    act()
                break
        request = asking.value
        answer = request.response()
        assert answer is not None and answer.ok
        content = answer.json()
        assert "errors" not in content, content
        self.page.wait_for_function(
            """known => [...Htx.annotationStore.selected.suggestions.values()].some(
                ({ type, id }) => type === "brushregion" && id !== known)""",
            arg=known,
        )
        ended: float = self.page.evaluate("performance.now()")
        regions = json.loads(request.post_data or "")["context"]["result"]
        return Asked(regions, content["data"]["result"], ended - began)


def _is_interactive(request: Request) -> bool:
    return "/interactive-annotating" in request.url
