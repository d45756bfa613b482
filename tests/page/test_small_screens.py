"""The page on phones: all that one can press is on the screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from page_pictures import DISC
from playwright.sync_api import Page, expect
from visitor import Visitor

# Names of the buttons of which a finger at their middle would hit something else, or nothing.
OUT_OF_REACH = """() => [...document.querySelectorAll(":is(.tools, .top, .welcome) button")]
  .filter((button) => button.checkVisibility())
  .filter((button) => {
    const { left, right, top, bottom } = button.getBoundingClientRect();
    const inside = left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
    const hit = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    return !inside || !button.contains(hit);
  })
  .map((button) => button.textContent.trim())"""


def tap(page: Page, x: float, y: float) -> None:
    """Tap as a finger does, which rolls meanwhile."""
    session = page.context.new_cdp_session(page)
    for kind, places in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x + 5, "y": y + 6}]),
        ("touchEnd", []),
    ):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    session.detach()


@pytest.mark.parametrize(
    ("width", "height"), [(320, 568), (360, 640), (390, 844), (740, 360), (844, 390)]
)
def test_every_tool_is_within_reach(
    width: int, height: int, come: Callable[..., Visitor], picture: bytes
) -> None:
    visitor = come(viewport={"width": width, "height": height}, has_touch=True, is_mobile=True)
    page = visitor.page
    assert page.evaluate(OUT_OF_REACH) == []
    visitor.open(("first.png", picture), ("second.png", picture))
    tap(page, *visitor.place(*DISC))
    expect(page.locator("#objects li")).to_have_count(1)
    visitor.answered()
    assert page.evaluate(OUT_OF_REACH) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bounds = visitor.stage.bounding_box()
    assert bounds["width"] >= width * 0.4 and bounds["height"] >= height * 0.25
    page.locator("#undo").tap()
    expect(page.locator("#objects li")).to_have_count(0)
