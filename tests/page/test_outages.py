"""Servers that are slow, stop, forget and refuse, and a page that goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
import pytest
from kept_port import kept_port
from page_pictures import BOX, DISC, STRIPE
from playwright.sync_api import Error, Request, Route, expect
from running_gateway import serving
from visitor import Visitor

from slimsam_client import SlimSam
from slimsam_client.contract import CLICK
from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings


@pytest.fixture
def own_server() -> Iterator[FakeServer]:
    """It may be stopped, and started again at the same address."""
    with kept_port() as port, FakeServer(port) as server:
        yield server


@pytest.fixture
def opened(
    own_server: FakeServer, come: Callable[..., Visitor], picture: bytes
) -> Iterator[Visitor]:
    with serving(GatewaySettings(url=own_server.url, timeout=120.0)) as gateway:
        visitor = come(gateway)
        visitor.open(("drawn.png", picture))
        yield visitor


class Held:
    """Clicks that are on their way to the gateway until they are let go."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.routes: list[Route] = []
        visitor.page.route("**/masks", lambda route: self.routes.append(route))

    def wait_for(self, count: int) -> None:
        self.visitor.until(lambda: len(self.routes) == count)

    def release(self, index: int) -> None:
        self.routes[index].continue_()

    def release_all(self) -> bool:
        for route in self.routes:
            # Some are answered, and some the page has ended.
            with suppress(Error):
                route.continue_()
        return True

    def points(self, index: int) -> Any:
        return self.routes[index].request.post_data_json["points"]


def test_of_many_moves_the_first_and_the_last_are_asked_for(opened: Visitor) -> None:
    held = Held(opened)
    for x in range(100, 400, 5):
        opened.page.mouse.move(*opened.place(x, 250))
    opened.page.mouse.move(*opened.place(*DISC))
    held.wait_for(1)
    held.release(0)
    held.wait_for(2)
    assert held.points(1) == [list(DISC)]
    held.release(1)
    opened.saw(*DISC)
    assert len(held.routes) == len(opened.prompts()) == 2
    # A first request may be answered, and its mask be seen, before the newest.
    opened.saw(300, 250, there=False)


def test_a_slow_server_is_asked_less_often_than_the_mouse_moves(
    opened: Visitor, own_server: FakeServer
) -> None:
    places = [opened.place(x, 250) for x in range(100, 400, 2)] + [opened.place(*STRIPE)]
    slow = 0.5
    own_server.delay(CLICK.name, slow, times=len(places))
    began = time.monotonic()
    for place in places:
        opened.page.mouse.move(*place)
    opened.saw(*STRIPE)
    took = time.monotonic() - began
    sent = opened.prompts()
    assert sent[-1]["points"] == [list(STRIPE)]
    # One after the other, however long a busy machine takes to move the mouse.
    assert 2 <= len(sent) <= took / slow


def test_a_click_ends_the_preview_and_is_not_dropped(opened: Visitor) -> None:
    held = Held(opened)
    objects = opened.page.locator("#objects li")
    opened.page.mouse.move(*opened.place(300, 250))
    held.wait_for(1)
    preview = held.routes[0].request
    opened.page.mouse.click(*opened.place(*DISC))
    expect(objects).to_have_count(1)
    opened.until(lambda: preview.failure is not None)
    opened.press("n")
    opened.page.mouse.click(*opened.place(*BOX))
    expect(objects).to_have_count(2)
    opened.until(lambda: held.release_all() and has_scores(opened, 2))
    masks = opened.masks()
    assert masks[0][DISC[1], DISC[0]] and masks[1][BOX[1], BOX[0]]


def has_scores(visitor: Visitor, count: int) -> bool:
    scores = visitor.page.locator("#objects .score").all_inner_texts()
    return len(scores) == count and "…" not in scores


def test_an_object_is_asked_for_once_and_again_if_what_ended_it_is_undone(
    opened: Visitor,
) -> None:
    held = Held(opened)
    opened.page.mouse.click(*opened.place(*DISC))
    opened.until(lambda: any(is_click(route, [DISC]) for route in held.routes))
    opened.press("n", "h")
    opened.page.get_by_role("button", name="Object 1", exact=True).click()
    opened.page.mouse.click(*opened.place(*STRIPE))
    opened.press("Control+z")
    opened.until(lambda: held.release_all() and has_scores(opened, 1))
    (mask,) = opened.masks()
    assert mask[DISC[1], DISC[0]] and not mask[STRIPE[1], STRIPE[0]]


def is_click(route: Route, points: list[tuple[int, int]]) -> bool:
    return is_asked(route.request, points)


def is_asked(request: Request, points: list[tuple[int, int]]) -> bool:
    return bool(request.post_data_json["points"] == [list(point) for point in points])


def test_a_server_that_starts_again_gets_the_picture_again(
    opened: Visitor, own_server: FakeServer, picture: bytes
) -> None:
    opened.click(*DISC)
    own_server.stop()
    own_server.forget_uploads()
    opened.page.mouse.click(*opened.place(*STRIPE))
    own_server.start()
    opened.answered()
    expect(opened.status).to_contain_text("Object 1")
    assert opened.uploads() == 2
    with SlimSam(own_server.url) as sam:
        # The mask that was to be refined is gone, too.
        clicks = {"points": [DISC, STRIPE], "multimask_output": False}
        expected = sam.segment(picture, **clicks).best_masks  # type: ignore[arg-type]
    assert np.array_equal(opened.masks()[0], expected)
    expect(opened.status).not_to_have_class("problem")
    opened.click(*BOX)
    assert "mask_id" in opened.prompts()[-1]


def test_a_server_with_another_checkpoint_gets_the_picture_again(
    opened: Visitor, own_server: FakeServer
) -> None:
    own_server.digest = "a" * 64
    opened.page.locator("#everything").click()
    expect(opened.status).to_contain_text("objects found")
    own_server.digest = "b" * 64
    opened.page.locator("#objects .select").first.click()
    opened.click(*DISC)
    assert opened.uploads() == 3


def test_a_server_that_is_away_is_said_and_can_be_tried_again(
    opened: Visitor, own_server: FakeServer
) -> None:
    page = opened.page
    page.route("**/masks", lambda route: route.continue_(url=f"{route.request.url}?timeout=1"))
    own_server.stop()
    page.mouse.click(*opened.place(*DISC))
    retry = page.get_by_role("button", name="Try again")

    def is_said() -> bool:
        """Whether it is; or have it tried again, for a busy machine may need more than a second."""
        expect(retry).to_be_visible()
        if "the server cannot be reached" in opened.status.inner_text():
            return True
        retry.click()
        return False

    opened.until(is_said)
    page.unroute("**/masks")
    own_server.start()
    retry.click()
    opened.answered()
    assert len(opened.masks()) == 1
    expect(retry).to_be_hidden()


def test_a_gateway_that_is_away_is_said(
    own_server: FakeServer, come: Callable[..., Visitor], picture: bytes
) -> None:
    with kept_port() as port:
        with serving(GatewaySettings(url=own_server.url), port=port) as gateway:
            visitor = come(gateway)
            visitor.open(("drawn.png", picture))
        visitor.page.mouse.click(*visitor.place(*DISC))
        expect(visitor.status).to_have_text("The gateway does not answer.")


def test_what_the_server_refuses_is_said_in_its_words(
    opened: Visitor, own_server: FakeServer
) -> None:
    own_server.fail(CLICK.name, grpc.StatusCode.INVALID_ARGUMENT, "this one is refused")
    opened.press("b")  # with which nothing is asked for before the box is there
    opened.drag(40, 40, 240, 240)
    expect(opened.status).to_contain_text("this one is refused")
    expect(opened.status).to_have_class("problem")
    opened.page.get_by_role("button", name="Try again").click()
    opened.answered()
    assert len(opened.masks()) == 1


def test_a_mask_that_is_not_there_yet_is_not_saved_without_a_word(opened: Visitor) -> None:
    opened.click(*DISC)
    opened.press("n")
    opened.page.mouse.move(5, 5)
    held = Held(opened)
    opened.page.mouse.click(*opened.place(*STRIPE))
    opened.until(lambda: any(is_click(route, [STRIPE]) for route in held.routes))
    assert len(opened.annotations()["annotations"]) == 1
    expect(opened.status).to_have_text("Saved 1 file. Objects left out, without a mask yet: 1.")
    opened.until(lambda: held.release_all() and has_scores(opened, 2))


def test_a_mask_is_seen_until_its_refinement_is_there(opened: Visitor) -> None:
    opened.click(*DISC)
    held = Held(opened)
    opened.page.mouse.click(*opened.place(*STRIPE))
    held.wait_for(1)
    opened.saw(*DISC)
    opened.saw(*STRIPE, there=False)
    held.release(0)
    opened.saw(*STRIPE)


def test_everything_can_be_stopped(opened: Visitor, own_server: FakeServer, picture: bytes) -> None:
    opened.open(("second.png", picture))
    own_server.delay("slimsam_automatic", 3600.0, times=2)

    def asked(status: grpc.StatusCode | None) -> int:
        """How many searches the server has that ended so, or with None that it is still doing."""
        return sum(
            request.model == "slimsam_automatic" and request.status is status
            for request in own_server.requests
        )

    opened.page.locator("#everything").click()
    opened.press("e")  # which it is already doing
    # What ends before it is there, the server never hears of.
    opened.until(lambda: asked(None) == 1)
    opened.page.get_by_role("button", name="Stop").click()
    expect(opened.status).to_have_text("Stopped.")
    opened.until(lambda: asked(grpc.StatusCode.CANCELLED) == 1)
    assert asked(None) == 0
    sent = [request for request in opened.requests if request.url.endswith("/everything")]
    assert len(sent) == 1
    opened.press("e")
    expect(opened.status).to_have_text("Finding everything …")
    opened.until(lambda: asked(None) == 1)
    opened.page.get_by_role("button", name="Close second.png").click(force=True)
    opened.until(lambda: asked(grpc.StatusCode.CANCELLED) == 2)


def test_each_of_two_searches_can_be_stopped(
    opened: Visitor, own_server: FakeServer, picture: bytes
) -> None:
    opened.open(("second.png", picture))
    own_server.delay("slimsam_automatic", 3600.0, times=2)
    opened.press("e")
    opened.page.get_by_role("button", name="drawn.png", exact=True).click()
    opened.opened()
    opened.press("e")

    def asked() -> list[Request]:
        return [request for request in opened.requests if request.url.endswith("/everything")]

    opened.until(lambda: len(asked()) == 2)
    stop = opened.page.get_by_role("button", name="Stop")
    stop.click()
    expect(opened.status).to_have_text("Stopped.")
    first, second = asked()
    opened.until(lambda: second.failure is not None)
    assert first.failure is None
    stop.click()
    expect(stop).to_be_hidden()
    opened.until(lambda: first.failure is not None)


def test_a_search_that_fails_speaks_of_its_own_picture(opened: Visitor, picture: bytes) -> None:
    held: list[Route] = []
    opened.page.route("**/everything", lambda route: held.append(route))
    opened.press("e")
    opened.until(lambda: len(held) == 1)
    opened.open(("second.png", picture))
    held[0].abort()
    notice = opened.page.locator("#notice")
    expect(notice).to_contain_text("drawn.png: The gateway does not answer.")
    expect(opened.status).to_contain_text("second.png, ")


def test_what_was_clicked_is_tried_again_after_a_preview_failed(opened: Visitor) -> None:
    opened.page.route("**/masks", lambda route: route.abort())
    opened.page.mouse.click(*opened.place(*DISC))
    expect(opened.status).to_have_text("The gateway does not answer.")
    opened.press("n")
    opened.page.mouse.move(*opened.place(*STRIPE))

    def has_failed(request: Request) -> bool:
        """Whether it is the preview, of which this pixel is the only one, and has failed."""
        is_preview = request.url.endswith("/masks") and is_asked(request, [STRIPE])
        return is_preview and request.failure is not None

    opened.until(lambda: any(map(has_failed, opened.requests)))
    expect(opened.page.locator("#retry")).to_be_visible()
    opened.page.unroute("**/masks")
    opened.page.locator("#retry").click()
    opened.answered()
    assert len(opened.masks()) == 1


def test_a_reload_while_a_picture_is_sent_loses_nothing(
    come: Callable[..., Visitor], picture: bytes
) -> None:
    visitor = come()
    held: list[Route] = []
    visitor.page.route("**/v1/images", lambda route: held.append(route))
    visitor.page.locator("#files").set_input_files(
        [{"name": "drawn.png", "mimeType": "image/png", "buffer": picture}]
    )
    visitor.until(lambda: len(held) == 1)
    visitor.page.mouse.click(*visitor.place(*DISC))
    expect(visitor.page.locator("#objects li")).to_have_count(1)
    visitor.stored("files", 1)
    visitor.stored("work", 1)
    visitor.page.unroute("**/v1/images")
    visitor.visit()
    visitor.answered()
    assert len(visitor.masks()) == 1
