"""Clicks, boxes, candidates, everything, and steps back, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from page_masks import Click, clicked
from page_pictures import BOX, DISC, GROUND, STRIPE
from playwright.sync_api import Response, expect
from visitor import Visitor

from slimsam_client import SlimSam


@pytest.fixture
def opened(visitor: Visitor, picture: bytes) -> Visitor:
    visitor.open(("drawn.png", picture))
    return visitor


def test_clicks_give_the_masks_of_the_sdk(opened: Visitor, sam: SlimSam, picture: bytes) -> None:
    opened.click(*DISC)
    opened.press("n")
    opened.click(*BOX)
    opened.click(500, 260)
    opened.click(540, 90, "Alt")
    opened.press("n")
    opened.click(*STRIPE)
    opened.click(200, 420, button="right")
    objects: list[list[Click]] = [
        [(DISC, 1)],
        [(BOX, 1), ((500, 260), 1), ((540, 90), 0)],
        [(STRIPE, 1), ((200, 420), 0)],
    ]
    for mask, clicks in zip(opened.masks(), objects, strict=True):
        assert np.array_equal(mask, clicked(sam, picture, *clicks).best_masks)
    opened.saw(*DISC)
    opened.saw(540, 90, there=False)


def test_a_box_is_dragged_with_shift_or_with_the_tool(
    opened: Visitor, sam: SlimSam, picture: bytes
) -> None:
    opened.page.keyboard.down("Shift")
    opened.drag(340, 60, 579, 299)
    opened.page.keyboard.up("Shift")
    opened.answered()
    opened.press("n", "b")
    opened.drag(230, 230, 50, 50)
    opened.answered()
    sent = [prompt["box"] for prompt in opened.prompts() if "box" in prompt]
    assert np.abs(np.subtract(sent, [[340, 60, 580, 300], [50, 50, 231, 231]])).max() <= 1
    embedding = sam.embed(picture)
    for mask, box in zip(opened.masks(), sent, strict=True):
        assert np.array_equal(mask, sam.predict(embedding, box=box).best_masks)
    expect(opened.page.locator("[data-tool=include]")).to_have_attribute("aria-pressed", "true")


def test_a_candidate_is_chosen_by_its_key_or_its_button(
    opened: Visitor, sam: SlimSam, picture: bytes
) -> None:
    embedding = sam.embed(picture)
    candidates = sam.predict(embedding, points=[STRIPE]).masks
    single = sam.predict(embedding, points=[STRIPE], multimask_output=False).best_masks
    opened.click(*STRIPE)
    for key, expected in [("1", candidates[0]), ("3", candidates[2]), ("2", candidates[1])]:
        opened.press(key)
        assert np.array_equal(opened.masks()[0], expected)
    opened.press("0")
    opened.answered()
    assert np.array_equal(opened.masks()[0], single)
    opened.page.get_by_role("button", name="Candidate 1").click()
    opened.answered()
    assert np.array_equal(opened.masks()[0], candidates[0])
    # What was chosen is what the next click refines.
    opened.click(200, 420)
    further = clicked(sam, picture, (STRIPE, 1), ((200, 420), 1), seen=0)
    assert np.array_equal(opened.masks()[0], further.best_masks)


def test_steps_are_undone_and_done_again_without_a_request(opened: Visitor) -> None:
    opened.click(*DISC)
    opened.click(*BOX)
    opened.press("n")
    opened.click(*STRIPE)
    opened.page.mouse.move(5, 5)
    both, stripe = opened.masks()
    sent = len(opened.prompts())
    objects = opened.page.locator("#objects li")
    opened.press("Control+z")
    expect(objects).to_have_count(1)
    opened.press("Control+z")
    assert not opened.masks()[0][BOX[1], BOX[0]]
    opened.page.locator("#undo").click()
    expect(objects).to_have_count(0)
    expect(opened.page.locator("#undo")).to_be_disabled()
    opened.press("Control+Shift+z", "Control+y")
    opened.page.locator("#redo").click()
    again = opened.masks()
    assert np.array_equal(again[0], both) and np.array_equal(again[1], stripe)
    assert len(opened.prompts()) == sent
    opened.page.locator("#reset").click()
    expect(objects).to_have_count(0)
    opened.press("Control+z")
    expect(objects).to_have_count(2)


def test_what_changes_nothing_is_no_step(opened: Visitor) -> None:
    page = opened.page
    objects, redo = page.locator("#objects li"), page.locator("#redo")
    opened.click(*DISC)
    opened.press("Control+z")
    expect(objects).to_have_count(0)
    opened.press("Shift+r")
    expect(redo).to_be_enabled()
    opened.press("Control+y")
    expect(objects).to_have_count(1)

    candidate = page.locator("#candidates [aria-pressed=true]")
    best = str(candidate.get_attribute("data-candidate"))
    another = "1" if best != "1" else "2"
    opened.press(str(int(another) + 1), "Control+z", str(int(best) + 1))
    expect(candidate).to_have_attribute("data-candidate", best)
    label = page.get_by_role("combobox", name="Label of object 1")
    label.fill("   ")
    label.press("Enter")
    expect(label).to_have_value("")
    expect(redo).to_be_enabled()
    redo.click()
    expect(candidate).to_have_attribute("data-candidate", another)


def test_each_click_refines_the_mask_that_was_seen(opened: Visitor) -> None:
    asked = asking(opened)
    opened.click(*DISC)
    opened.press("1")
    opened.click(*BOX)
    opened.click(*STRIPE)
    first, second, third = asked()
    assert first.refined is None
    assert second.refined == first.given[0] and third.refined == second.given[0]
    assert [len(one.given) for one in (first, second, third)] == [3, 1, 1]

    # Back at what the first click gave, another candidate is the one that is refined.
    opened.press("Control+z", "Control+z", "3")
    opened.click(*GROUND)
    assert asked()[-1].refined == first.given[2]
    opened.press("Control+z", "Control+z", "Control+y", "Control+y")
    opened.click(*BOX, "Alt")
    fourth, fifth = asked()[-2:]
    assert fifth.refined == fourth.given[0]
    # Candidates of a refined mask are of the same mask; and what is drawn anew is not refined.
    opened.press("2")
    opened.answered()
    assert asked()[-1].refined == fifth.refined and len(asked()[-1].given) == 3
    opened.press("b")
    opened.drag(50, 50, 230, 230)
    opened.answered()
    assert asked()[-1].refined is None


class Asked(NamedTuple):
    """A click's request: the mask_id that it sent, and the mask_ids of its answer."""

    refined: str | None
    given: list[str]


def asking(visitor: Visitor) -> Callable[[], list[Asked]]:
    """Give what lists the clicks from here on, in the order in which they were answered."""
    answers: list[Response] = []
    visitor.page.on("response", lambda answer: answers.append(answer))

    def listed() -> list[Asked]:
        return [
            Asked(answer.request.post_data_json.get("mask_id"), answer.json()["mask_ids"][0])
            for answer in answers
            if answer.url.endswith("/masks") and answer.request.post_data_json["masks"] == "all"
        ]

    return listed


def test_everything_is_found_and_can_be_refined(
    opened: Visitor, sam: SlimSam, picture: bytes
) -> None:
    opened.page.locator("#everything").click()
    expect(opened.status).to_contain_text("objects found")
    records = sam.generate(picture)
    assert len(records) >= 4
    for mask, record in zip(opened.masks(), records, strict=True):
        assert np.array_equal(mask, record.segmentation)
    opened.page.locator("#objects .select").first.click()
    opened.click(*GROUND)
    refined = opened.prompts()[-1]
    assert len(refined["points"]) == 2 and refined["points"][1] == list(GROUND)
    opened.press("Control+z")
    # It is one mask, whose point has candidates, too.
    expect(opened.page.get_by_role("button", name="Single")).to_have_attribute(
        "aria-pressed", "true"
    )
    opened.press("2")
    opened.answered()
    assert opened.prompts()[-1]["points"] == refined["points"][:1]
    expect(opened.page.locator("#candidates small", has_text=".")).to_have_count(3)
    opened.press("Control+z", "Control+z")
    expect(opened.page.locator("#objects li")).to_have_count(0)


def test_the_mouse_shows_what_a_click_would_give(opened: Visitor) -> None:
    opened.page.mouse.move(*opened.place(*DISC))
    opened.saw(*DISC)
    shown = opened.prompts()[-1]
    assert (shown["points"], shown["masks"]) == ([list(DISC)], "best")
    expect(opened.page.locator("#objects li")).to_have_count(0)
    opened.page.mouse.move(5, 5)
    opened.saw(*DISC, there=False)


def test_objects_are_labelled_hidden_selected_and_deleted(opened: Visitor) -> None:
    page = opened.page
    page.get_by_role("textbox", name="New label").fill("  sun ")
    page.get_by_role("button", name="Add").click()
    opened.click(*DISC)
    opened.press("n")
    page.get_by_role("button", name="No label").click()
    opened.click(*BOX)
    opened.press("n")
    label = page.get_by_role("combobox", name="Label of object 2")
    label.fill("frame")
    label.press("Enter")
    page.get_by_label("Color of frame").fill("#ff8800")
    orange = pytest.approx([0xFF, 0x88, 0x00], abs=3)
    opened.until(lambda: opened.shown(*BOX)[:3] == orange)
    dataset = opened.annotations()
    names = {category["id"]: category["name"] for category in dataset["categories"]}
    labels = [names[annotation["category_id"]] for annotation in dataset["annotations"]]
    assert labels == ["sun", "frame"]

    page.get_by_role("button", name="Hide object 2").click()
    opened.saw(*BOX, there=False)
    page.get_by_role("button", name="Show object 2").click()
    opened.saw(*BOX)
    page.get_by_role("button", name="Object 1", exact=True).click()
    opened.click(*STRIPE)
    assert opened.prompts()[-1]["points"] == [list(DISC), list(STRIPE)]
    page.get_by_role("button", name="Delete object 1").click()
    opened.saw(*DISC, there=False)
    assert len(opened.masks()) == 1
    page.get_by_role("button", name="Remove the label sun").click()
    expect(page.locator("#labels li")).to_have_count(2)


def test_a_zoomed_and_moved_picture_is_clicked_where_it_is(opened: Visitor) -> None:
    def width() -> float:
        return opened.place(STRIPE[0] + 1, STRIPE[1])[0] - opened.place(*STRIPE)[0]

    whole = width()
    opened.page.mouse.move(*opened.place(*STRIPE))
    opened.page.mouse.wheel(0, -900)
    opened.until(lambda: width() > 3 * whole)
    before = opened.place(*STRIPE)
    opened.page.mouse.move(*before)
    opened.page.keyboard.down("Space")
    opened.page.mouse.down()
    opened.page.mouse.move(before[0] + 80, before[1] - 60, steps=3)
    opened.page.mouse.up()
    opened.page.keyboard.up("Space")
    assert np.allclose(opened.place(*STRIPE), np.add(before, (80, -60)), atol=1)
    opened.click(*STRIPE)
    assert opened.prompts()[-1]["points"] == [list(STRIPE)]
    opened.saw(*STRIPE)
    opened.press("f")
    opened.saw(*STRIPE)
    opened.saw(*DISC, there=False)


def test_fingers_tap_and_pinch(come: Callable[..., Visitor], picture: bytes) -> None:
    visitor = come(has_touch=True, viewport={"width": 390, "height": 844})
    visitor.open(("drawn.png", picture))
    # A tap may be over before the page has it.
    visitor.page.touchscreen.tap(*visitor.place(*STRIPE))
    visitor.until(lambda: len(visitor.prompts()) == 1)
    visitor.answered()
    visitor.page.locator("[data-tool=exclude]").tap()
    visitor.page.touchscreen.tap(*visitor.place(200, 420))
    visitor.until(lambda: len(visitor.prompts()) == 2)
    visitor.answered()
    sent = visitor.prompts()
    assert [prompt["labels"] for prompt in sent] == [[1], [1, 0]]
    assert np.abs(np.subtract(sent[1]["points"], [STRIPE, (200, 420)])).max() <= 2

    (x, y), before = visitor.place(*DISC), visitor.place(*BOX)
    session = visitor.page.context.new_cdp_session(visitor.page)
    for kind, reach in [("Start", 20), ("Move", 40), ("Move", 60)]:
        fingers = [{"x": x - reach, "y": y, "id": 0}, {"x": x + reach, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": fingers})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    visitor.until(lambda: visitor.place(*BOX)[0] - x > 2.5 * (before[0] - x))
    assert visitor.place(*DISC) == pytest.approx((x, y), abs=2)
    assert len(visitor.prompts()) == 2
