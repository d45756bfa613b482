"""Pictures of all kinds, several of them, and a page that is loaded again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from page_pictures import BOX, DISC, GROUND, STRIPE, drawn
from PIL import Image
from playwright.sync_api import Route, expect
from running_gateway import Gateway, encoded, serving
from skimage import data
from visitor import Visitor

from slimsam_client import GenerateSettings, SlimSam
from slimsam_client.testing import FakeServer
from slimsam_gateway import GatewaySettings
from slimsam_gateway.keys import KeyRing

ORIENTATION = 0x0112
DECODE_WHEN_LET_GO = """() => {
    const decode = createImageBitmap;
    window.createImageBitmap = async (...given) => {
        if (given.length === 1) await new Promise((resolve) => (window.goOn = resolve));
        return decode(...given);
    };
}"""


def test_a_jpeg_is_turned_as_the_server_turns_it(visitor: Visitor, sam: SlimSam) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # stored on its side, as phones do
    photo = encoded(Image.fromarray(np.rot90(data.chelsea())), "JPEG", exif=exif, quality=92)
    visitor.open(("photo.jpg", photo))
    expect(visitor.stage).to_have_attribute(
        "aria-label", "photo.jpg, 451 by 300 pixels, objects: 0"
    )
    visitor.click(150, 120)
    (mask,) = visitor.masks()
    assert mask.shape == (300, 451) and mask[120, 150]
    embedding = sam.embed(photo)
    assert np.array_equal(mask, sam.predict(embedding, points=[(150, 120)]).best_masks)


def test_a_picture_of_12_megapixels(visitor: Visitor, sam: SlimSam) -> None:
    photo = encoded(drawn(4000, 3000), "JPEG", quality=90)
    visitor.open(("large.jpg", photo))
    visitor.click(875, 875)
    visitor.saw(875, 875)
    (mask,) = visitor.masks()
    embedding = sam.embed(photo)
    assert np.array_equal(mask, sam.predict(embedding, points=[(875, 875)]).best_masks)
    name, cutout = visitor.save("cutouts")
    assert name == "large-1-object.png" and len(cutout) > 10_000


def test_a_picture_above_the_gateways_limit_is_reduced(
    server: FakeServer, sam: SlimSam, come: Callable[..., Visitor]
) -> None:
    noise = np.random.default_rng(0).integers(0, 6, (1020, 1360, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(np.asarray(drawn(1360, 1020)) + noise))
    small = encoded(drawn(1024, 768))
    settings = GatewaySettings(url=server.url, max_image_bytes=len(photo) - 1)
    assert len(small) < len(photo)
    with serving(settings) as gateway:
        visitor = come(gateway)
        visitor.open(("large.png", photo))
        visitor.click(300, 300)
        (mask,) = visitor.masks()
        assert mask.shape == (1020, 1360) and mask[300, 300] and not mask[20, 20]
        assert visitor.uploads() == 2

        visitor.press("Control+z")
        visitor.page.locator("#everything").click()
        expect(visitor.status).to_contain_text("objects found")
        expected = sam.generate(photo, GenerateSettings(points_per_side=6))
        found = visitor.masks()
        assert len(found) >= len(expected) > 3
        for record in expected:
            # One of them is the same, but for its edge: noise was lost when it was reduced.
            best = max(found, key=lambda one: (one == record.segmentation).mean())
            assert best.shape == (1020, 1360) and (best == record.segmentation).mean() > 0.98
        # A server that forgets it gets the same copy again, without asking whether that is needed.
        server.forget_uploads()
        visitor.page.locator("#objects .select").first.click()
        visitor.click(300, 300)
        assert visitor.uploads() == 3


def test_work_on_several_pictures_survives_a_reload(visitor: Visitor, picture: bytes) -> None:
    page = visitor.page
    second = encoded(drawn(400, 300))
    visitor.open(("first.png", picture), ("first.png", second), ("second.png", second))
    page.get_by_role("textbox", name="New label").fill("sun")
    page.keyboard.press("Enter")
    visitor.click(*DISC)
    visitor.stage.focus()
    visitor.press("PageDown", "PageDown")
    expect(page.get_by_role("button", name="second.png", exact=True)).to_have_attribute(
        "aria-current", "true"
    )
    visitor.opened()
    page.get_by_role("button", name="No label").click()
    visitor.click(240, 65)
    visitor.click(350, 160)
    visitor.press("1")
    visitor.answered()
    before = visitor.annotations(everything=True)
    visitor.stored("files", 3)
    visitor.kept(2)

    visitor.visit()
    visitor.opened()
    assert visitor.annotations(everything=True) == before
    assert [image["file_name"] for image in before["images"]] == ["first.png", "second.png"]
    assert [category["name"] for category in before["categories"]] == ["object", "sun"]
    expect(visitor.stage).to_have_attribute(
        "aria-label", "second.png, 400 by 300 pixels, objects: 1"
    )
    # Work goes on where it was.
    visitor.click(30, 20, "Alt")
    assert visitor.prompts()[-1]["labels"] == [1, 1, 0]
    page.get_by_role("button", name="first (2).png", exact=True).click()
    visitor.opened()
    expect(page.locator("#objects li")).to_have_count(0)

    for name in ("first (2).png", "second.png"):
        page.get_by_role("button", name=f"Close {name}").click(force=True)
    expect(page.locator("#strip")).to_be_hidden()
    visitor.opened()
    visitor.stored("files", 1)
    visitor.visit()
    visitor.opened()
    assert len(visitor.masks()) == 1


def test_pictures_of_two_tabs_are_kept_apart(visitor: Visitor, picture: bytes) -> None:
    other = Visitor(visitor.page.context.new_page(), visitor.address)
    visitor.open(("first.png", picture))
    other.open(("second.png", encoded(drawn(400, 300))))
    visitor.click(*DISC)
    other.click(240, 65)
    other.click(350, 160)
    other.stored("files", 2)
    other.kept(2)
    other.visit()
    other.opened()
    images = {
        image["file_name"]: (image["width"], image["height"])
        for image in other.annotations(everything=True)["images"]
    }
    assert images == {"first.png": (640, 480), "second.png": (400, 300)}
    assert other.errors == []


def test_two_tabs_on_one_picture_lose_nothing(visitor: Visitor, picture: bytes) -> None:
    visitor.open(("drawn.png", picture))
    visitor.click(*DISC)
    visitor.press("n")
    visitor.kept(1)
    visitor.stored("files", 1)
    other = Visitor(visitor.page.context.new_page(), visitor.address)
    other.opened()
    for count, one, place in [(2, visitor, BOX), (3, other, STRIPE), (4, visitor, GROUND)]:
        one.press("n")
        one.click(*place)
        expect(one.page.locator("#objects li")).to_have_count(count)
        one.kept(count)
        told = one.page.locator("#notice")
        if count == 2:
            expect(told).to_be_hidden()
        else:
            expect(told).to_contain_text("Another tab has changed the objects of drawn.png")
            # What came from the other tab is no step of this one.
            one.press("Control+z")
            expect(one.page.locator("#objects li")).to_have_count(count - 1)
            one.press("Control+y")
            one.kept(count)
    for one in (visitor, other):
        one.visit()
        one.opened()
        masks = one.masks()
        assert len(masks) == 4
        for x, y in (DISC, BOX, STRIPE, GROUND):
            assert any(mask[y, x] for mask in masks)
    assert other.errors == []


def test_a_picture_that_another_tab_has_closed_is_kept_if_work_goes_on(
    visitor: Visitor, picture: bytes
) -> None:
    visitor.open(("first.png", picture), ("second.png", picture))
    visitor.click(*DISC)
    visitor.kept(1)
    visitor.stored("files", 2)
    other = Visitor(visitor.page.context.new_page(), visitor.address)
    other.opened()
    other.page.get_by_role("button", name="Close first.png").click(force=True)
    other.stored("files", 1)
    other.stored("work", 0)
    visitor.press("n")
    visitor.click(*BOX)
    visitor.kept(2)
    visitor.stored("files", 2)
    visitor.visit()
    visitor.page.get_by_role("button", name="first.png", exact=True).click()
    expect(visitor.stage).to_have_attribute("aria-label", re.compile("^first.png.*objects: 2"))
    assert other.errors == []


def test_a_browser_without_room_says_so_until_it_is_read(visitor: Visitor, picture: bytes) -> None:
    session = visitor.page.context.new_cdp_session(visitor.page)
    origin = {"origin": visitor.address.rstrip("/")}
    session.send("Storage.overrideQuotaForOrigin", {**origin, "quotaSize": 1})
    notice = visitor.page.locator("#notice")
    visitor.open(("drawn.png", picture))
    expect(notice).to_contain_text("no room for these pictures")
    visitor.click(*DISC)
    expect(visitor.status).to_contain_text("Object 1: ")
    expect(notice).to_contain_text("no room for this work")
    # With room again, what could not be stored before is stored with what follows.
    session.send("Storage.overrideQuotaForOrigin", origin)
    visitor.press("n")
    visitor.click(*BOX)
    visitor.kept(2)
    notice.get_by_role("button", name="OK").click()
    expect(notice).to_be_hidden()


def test_a_preview_is_of_its_own_picture(visitor: Visitor, picture: bytes) -> None:
    visitor.open(("first.png", picture), ("second.png", encoded(drawn(400, 300))))
    # A large picture takes a while to decode; this one does until it is let go.
    visitor.page.evaluate(DECODE_WHEN_LET_GO)
    visitor.press("PageDown", "ArrowLeft")
    painted = """async () => {
        const { stage } = await import("/page/main.js");
        const { width, height } = stage.canvases.masks;
        const { data } = stage.canvases.masks.getContext("2d").getImageData(0, 0, width, height);
        return data.some((value) => value > 0);
    }"""
    visitor.until(lambda: bool(visitor.page.evaluate(painted)))
    visitor.page.evaluate("goOn()")
    visitor.opened()
    expect(visitor.stage).to_have_attribute("aria-label", re.compile("^second.png"))
    visitor.until(lambda: not visitor.page.evaluate(painted))


def test_nothing_is_said_of_the_picture_before_the_one_that_opens(
    visitor: Visitor, picture: bytes
) -> None:
    held: list[Route] = []
    visitor.page.route("**/v1/images", lambda route: held.append(route))
    visitor.page.locator("#files").set_input_files(
        [
            {"name": name, "mimeType": "image/png", "buffer": picture}
            for name in ("first.png", "second.png")
        ]
    )
    expect(visitor.status).to_contain_text("Sending first.png")
    visitor.until(lambda: len(held) == 1)
    visitor.page.evaluate(DECODE_WHEN_LET_GO)
    visitor.press("PageDown")
    expect(visitor.status).to_contain_text("Opening second.png")
    visitor.page.unroute("**/v1/images")  # which lets go what it held
    visitor.page.evaluate(
        """async () => {
            const { session } = await import("/page/session.js");
            await session.pictures[0].upload();
            await new Promise((resolve) => setTimeout(resolve)); // those who waited before
        }"""
    )
    expect(visitor.status).to_contain_text("Opening second.png")
    visitor.page.evaluate("goOn()")
    expect(visitor.status).to_contain_text("second.png, ")
    visitor.opened()


def test_a_click_is_answered_though_the_next_picture_cannot_be_opened(
    visitor: Visitor, picture: bytes
) -> None:
    """Which ends what is asked for of the picture before."""
    held: list[Route] = []
    visitor.open(("first.png", picture), ("second.png", picture))
    visitor.press("PageDown")
    expect(visitor.status).to_contain_text("second.png, ")
    visitor.click(*BOX)
    visitor.press("PageUp")
    expect(visitor.status).to_contain_text("first.png, ")
    visitor.page.evaluate(
        """() => {
            window.createImageBitmap = () => new Promise((_, reject) => (window.goOn = reject));
        }"""
    )
    visitor.page.route("**/masks", lambda route: held.append(route))
    visitor.page.mouse.click(*visitor.place(*DISC))
    visitor.until(lambda: any("points" in (one.request.post_data or "") for one in held))
    visitor.press("PageDown")
    expect(visitor.status).to_contain_text("Opening second.png")
    # What was asked for has ended, and who waits for it has heard so.
    visitor.page.evaluate("async () => { await new Promise((end) => setTimeout(end)); goOn(); }")
    expect(visitor.status).to_contain_text("second.png: this browser cannot show it")
    visitor.page.unroute("**/masks")
    visitor.answered()
    assert len(visitor.masks()) == 1


def test_a_folder_is_opened(visitor: Visitor, picture: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("10.png", "9.png", "more/1.png"):
        (folder / name).write_bytes(picture)
    (folder / "notes.txt").write_text("none of them")
    visitor.page.locator("#folder").set_input_files(folder)
    visitor.opened()
    visitor.click(*BOX)
    names = [button.get_attribute("aria-label") for button in visitor.page.locator(".thumb").all()]
    assert names == ["photos/9.png", "photos/10.png", "photos/more/1.png"]
    assert visitor.annotations()["images"][0]["file_name"] == "photos/9.png"


def test_a_picture_is_dropped(visitor: Visitor, picture: bytes) -> None:
    handle = visitor.page.evaluate_handle(
        """bytes => {
            const transfer = new DataTransfer();
            const type = "image/png";
            transfer.items.add(new File([new Uint8Array(bytes)], "drawn.png", { type }));
            return transfer;
        }""",
        list(picture),
    )
    visitor.page.dispatch_event("#stage", "drop", {"dataTransfer": handle})
    visitor.opened()
    visitor.click(*STRIPE)
    assert len(visitor.masks()) == 1


def test_what_of_a_drop_cannot_be_read_is_named(
    visitor: Visitor, picture: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("gone.png", "here.png"):
        (folder / name).write_bytes(picture)
    # One file goes between the list of the folder and the look at its files.
    visitor.page.evaluate(
        """() => {
            const given = DataTransferItem.prototype.webkitGetAsEntry;
            DataTransferItem.prototype.webkitGetAsEntry = function () {
                const entry = given.call(this);
                const reader = entry.createReader();
                const read = reader.readEntries.bind(reader);
                reader.readEntries = (resolve, reject) => {
                    reader.readEntries = read;
                    read((entries) => (window.goOn = () => resolve(entries)), reject);
                };
                entry.createReader = () => reader;
                return entry;
            };
        }"""
    )
    bounds = visitor.stage.bounding_box()
    session = visitor.page.context.new_cdp_session(visitor.page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send(
            "Input.dispatchDragEvent",
            {
                "type": kind,
                "x": bounds["x"] + bounds["width"] / 2,
                "y": bounds["y"] + bounds["height"] / 2,
                "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1},
            },
        )
    visitor.until(lambda: bool(visitor.page.evaluate("'goOn' in window")))
    (folder / "gone.png").unlink()
    visitor.page.evaluate("goOn()")
    visitor.opened()
    expect(visitor.stage).to_have_attribute("aria-label", re.compile("^photos/here.png"))
    expect(visitor.page.locator("#notice-text")).to_have_text(
        "Left out, for they cannot be read: photos/gone.png."
    )


def test_what_is_no_picture_is_said(visitor: Visitor, picture: bytes) -> None:
    visitor.page.locator("#files").set_input_files(
        [{"name": "broken.png", "mimeType": "image/png", "buffer": b"not a picture"}]
    )
    expect(visitor.status).to_have_text("broken.png: this browser cannot show it.")
    visitor.page.locator("#files").set_input_files(
        [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"text"}]
    )
    expect(visitor.status).to_have_text("There is no picture among these files.")
    # It is not kept, nor in the way of others.
    visitor.visit()
    expect(visitor.status).to_have_text("Open a picture to begin.")
    files = [("broken.png", b"not a picture"), ("drawn.png", picture), ("second.png", picture)]
    visitor.page.locator("#files").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )
    # It stays, though the next one is opened and sent.
    notice = visitor.page.locator("#notice-text")
    expect(notice).to_have_text("broken.png: this browser cannot show it.")
    visitor.opened()
    expect(notice).to_be_visible()
    expect(visitor.page.locator(".thumb")).to_have_count(2)
    expect(visitor.stage).to_have_attribute("aria-label", re.compile("drawn.png"))
    visitor.click(*DISC)


def test_the_drawn_scene_is_there_to_try(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Try an example").click()
    visitor.opened()
    visitor.click(914, 256)
    (mask,) = visitor.masks()
    assert mask.shape == (768, 1024) and mask[256, 914]


def test_an_example_that_cannot_be_had_is_said(visitor: Visitor) -> None:
    visitor.page.route("**/page/example", lambda route: route.abort())
    visitor.page.get_by_role("button", name="Try an example").click()
    expect(visitor.status).to_have_text("The example cannot be had; open a picture of your own.")
    visitor.page.unroute("**/page/example")
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.opened()


def test_it_begins_with_the_operators_example(
    come: Callable[..., Visitor], server: FakeServer, picture: bytes, tmp_path: Path
) -> None:
    example = tmp_path / "a photo ä.png"
    example.write_bytes(picture)
    with serving(GatewaySettings(url=server.url, example=example)) as gateway:
        visitor = come(gateway)
        for _ in range(2):  # and not once more where it is kept
            visitor.page.goto("about:blank")
            visitor.page.goto(f"{gateway.http.base_url}#example")
            visitor.opened()
            expect(visitor.page.locator("#pictures li")).to_have_count(1)
            expect(visitor.stage).to_have_attribute("aria-label", re.compile("a photo ä.png"))
            visitor.stored("files", 1)
        assert not visitor.page.url.endswith("#example")


def test_a_closed_picture_is_forgotten_by_the_server(
    visitor: Visitor, gateway: Gateway, picture: bytes
) -> None:
    visitor.open(("first.png", picture), ("second.png", encoded(drawn(300, 200))))
    with visitor.page.expect_request(lambda request: request.method == "DELETE") as asked:
        visitor.page.get_by_role("button", name="Close first.png").click(force=True)
    assert asked.value.response().status == 204
    address = asked.value.url.removeprefix(str(gateway.http.base_url)).removesuffix("/")
    answer = gateway.http.post(f"{address}/masks", content=json.dumps({"points": [[1, 1]]}))
    assert answer.status_code == 404
    visitor.opened()


@pytest.mark.parametrize("key", ["first", "wrong"])
def test_a_key_is_asked_for(
    key: str, server: FakeServer, come: Callable[..., Visitor], picture: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"somebody {sha256(b'first').hexdigest()}\n")
    with serving(GatewaySettings(url=server.url, keys=KeyRing.read(file))) as gateway:
        visitor = come(gateway)
        visitor.page.locator("#files").set_input_files(
            [{"name": "drawn.png", "mimeType": "image/png", "buffer": picture}]
        )
        dialog = visitor.page.locator("#key-dialog")
        dialog.locator("input").fill(key)
        dialog.locator("input").press("Enter")
        if key == "wrong":
            expect(dialog).to_be_visible()
            expect(visitor.status).to_contain_text("Authorization: expected Bearer")
            dialog.locator("input").fill("first")
            dialog.get_by_role("button", name="Go on").click()
        visitor.answered()
        visitor.click(*DISC)
        assert len(visitor.masks()) == 1
