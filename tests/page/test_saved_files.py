"""What the page saves, read back by others' readers."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from numpy.typing import NDArray
from page_pictures import BOX, DISC, HOLE, STRIPE, drawn
from PIL import Image, ImageDraw
from playwright.sync_api import expect
from pycocotools.coco import COCO
from running_gateway import encoded
from visitor import Visitor, entries

from slimsam_client.encodings import to_box


@pytest.fixture
def annotated(visitor: Visitor, picture: bytes) -> Visitor:
    """A disc without a label, a frame around a hole, and a stripe in another picture."""
    visitor.open(("one.png", picture), ("two.png", encoded(drawn(320, 240))))
    page = visitor.page
    visitor.click(*DISC)
    visitor.press("n")
    page.locator("#new-label").fill("frame, blue")
    page.locator("#new-label").press("Enter")
    visitor.click(*BOX)
    page.get_by_role("button", name="two.png", exact=True).click()
    expect(visitor.status).to_contain_text("two.png, 320 × 240")
    visitor.click(STRIPE[0] // 2, STRIPE[1] // 2)
    page.get_by_role("button", name="one.png", exact=True).click()
    expect(visitor.status).to_contain_text("one.png, 640 × 480")
    return visitor


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_coco(annotated: Visitor) -> None:
    dataset = annotated.annotations(everything=True)
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    assert [image["file_name"] for image in coco.loadImgs([1, 2])] == ["one.png", "two.png"]
    assert [(image["width"], image["height"]) for image in dataset["images"]] == [
        (640, 480),
        (320, 240),
    ]
    assert [category["name"] for category in coco.loadCats([1, 2])] == ["frame, blue", "object"]
    for annotation in dataset["annotations"]:
        mask = coco.annToMask(annotation).astype(bool)
        x0, y0, x1, y1 = to_box(mask) or (0, 0, 0, 0)
        assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
        assert annotation["area"] == mask.sum() > 500
        assert annotation["score"] == pytest.approx(0.95)
    assert [annotation["image_id"] for annotation in dataset["annotations"]] == [1, 1, 2]
    assert len(annotated.annotations()["images"]) == 1


def test_masks_as_png(annotated: Visitor) -> None:
    masks = annotated.masks()
    name, content = annotated.save("masks", everything=True)
    files = entries(content)
    assert name == "masks.zip"
    assert list(files) == [
        "one-1-object.png",
        "one-2-frame_blue.png",
        "two-1-frame_blue.png",
    ]
    for mask, file in zip(masks, files.values(), strict=False):
        assert np.array_equal(pixels(file), mask)
    assert pixels(files["two-1-frame_blue.png"]).shape == (240, 320)


def test_cutouts(annotated: Visitor, picture: bytes) -> None:
    masks = annotated.masks()
    whole = pixels(picture)
    files = entries(annotated.save("cutouts")[1])
    for mask, file in zip(masks, files.values(), strict=True):
        x0, y0, x1, y1 = to_box(mask) or (0, 0, 0, 0)
        cutout, inside = pixels(file), mask[y0:y1, x0:x1]
        assert np.array_equal(cutout[..., 3], np.where(inside, 255, 0))
        assert np.array_equal(cutout[inside][:, :3], whole[y0:y1, x0:x1][inside])
        assert not cutout[~inside].any()


def test_labelme(annotated: Visitor) -> None:
    disc, frame = annotated.masks()
    name, content = annotated.save("labelme", everything=True)
    files = entries(content)
    assert name == "labelme.zip" and list(files) == ["one.json", "two.json"]
    saved = json.loads(files["one.json"])
    assert saved["imagePath"] == "one.png" and saved["imageData"] is None
    assert (saved["imageWidth"], saved["imageHeight"]) == (640, 480)
    polygon, mask = saved["shapes"]
    assert [shape["label"] for shape in saved["shapes"]] == ["object", "frame, blue"]

    assert polygon["shape_type"] == "polygon" and polygon["group_id"] is None
    assert 8 < len(polygon["points"]) < 200
    # Corners of pixels are whole numbers: a polygon of a picture four times as large.
    canvas = Image.new("1", (4 * 640, 4 * 480))
    corners = [(4 * x, 4 * y) for x, y in polygon["points"]]
    ImageDraw.Draw(canvas).polygon(corners, fill=1)
    there = np.asarray(canvas)[2::4, 2::4]
    assert (there & disc).sum() / (there | disc).sum() > 0.99

    assert mask["shape_type"] == "mask"
    (x0, y0), (x1, y1) = mask["points"]
    part = pixels(base64.b64decode(mask["mask"])).astype(bool)
    assert part.shape == (y1 - y0 + 1, x1 - x0 + 1)
    assert np.array_equal(part, frame[y0 : y1 + 1, x0 : x1 + 1]) and part.sum() == frame.sum()
    assert not frame[HOLE[1], HOLE[0]]


def test_one_file_is_saved_without_an_archive(annotated: Visitor) -> None:
    name, content = annotated.save("labelme")
    assert name == "one.json" and json.loads(content)["imagePath"] == "one.png"
    annotated.page.get_by_role("button", name="Delete object 1").click()
    name, content = annotated.save("masks")
    assert name == "one-1-frame_blue.png" and pixels(content).shape == (480, 640)


def test_pictures_of_one_stem_keep_apart(visitor: Visitor, picture: bytes) -> None:
    photo = encoded(drawn(320, 240), "JPEG")
    visitor.open(("scan.jpg", photo), ("scan.png", picture), ("other.png", picture))
    for name, (x, y) in [
        ("scan.jpg", (DISC[0] // 2, DISC[1] // 2)),
        ("scan.png", DISC),
        ("other.png", DISC),
    ]:
        visitor.page.get_by_role("button", name=name, exact=True).click()
        expect(visitor.stage).to_have_attribute("aria-label", re.compile(f"^{name}"))
        visitor.opened()
        visitor.click(x, y)
    files = entries(visitor.save("labelme", everything=True)[1])
    assert {name: json.loads(content)["imagePath"] for name, content in files.items()} == {
        "scan.jpg.json": "scan.jpg",
        "scan.png.json": "scan.png",
        "other.json": "other.png",
    }
    for form in ("masks", "cutouts"):
        files = entries(visitor.save(form, everything=True)[1])
        assert set(files) == {
            "scan.jpg-1-object.png",
            "scan.png-1-object.png",
            "other-1-object.png",
        }
        small, large = (pixels(files[f"scan.{name}-1-object.png"]) for name in ("jpg", "png"))
        assert small.shape[0] < large.shape[0]


def test_what_cannot_be_decoded_is_left_out_and_named(visitor: Visitor, picture: bytes) -> None:
    names = ["1.png", "2.png", "3.png", "4.png"]
    visitor.open(*((name, picture) for name in names))
    for count, name in enumerate(names):
        if count:
            visitor.press("PageDown")
        expect(visitor.stage).to_have_attribute("aria-label", re.compile(f"^{name}"))
        visitor.opened()
        visitor.click(*DISC)
    visitor.kept(4)
    visitor.stored("files", 4)
    visitor.press("PageUp")
    expect(visitor.stage).to_have_attribute("aria-label", re.compile("^3.png"))
    visitor.stored("settings", 1)
    visitor.page.evaluate(BREAK, "4.png")

    # Sizes are kept with the work, so masks of all are saved without a look at the pictures.
    visitor.visit()
    visitor.opened()
    images = visitor.annotations(everything=True)["images"]
    assert [image["file_name"] for image in images] == names
    assert list(entries(visitor.save("cutouts", everything=True)[1])) == [
        "1-1-object.png",
        "2-1-object.png",
        "3-1-object.png",
    ]
    left_out = "Saved {} Pictures left out, which this browser cannot show: 4.png."
    expect(visitor.status).to_have_text(left_out.format("3 files."))

    # The page of before has stored no sizes.
    visitor.page.evaluate(WITHOUT_SIZES)
    visitor.visit()
    visitor.opened()
    visitor.page.evaluate(COUNT_BITMAPS)
    images = visitor.annotations(everything=True)["images"]
    assert [image["file_name"] for image in images] == names[:3]
    expect(visitor.status).to_have_text(left_out.format("1 file."))
    assert visitor.page.evaluate("window.bitmaps") == {"open": 0, "most": 1}


BREAK = """async (name) => {
    const { Storage } = await import("/page/storage.js");
    const storage = await Storage.open();
    for (const record of await storage.all("files")) {
        const file = record.name === name ? new Blob(["not a picture"]) : record.file;
        await storage.put("files", record.key, { ...record, file });
    }
}"""
WITHOUT_SIZES = """async () => {
    const { Storage } = await import("/page/storage.js");
    const storage = await Storage.open();
    for (const { key, state } of await storage.all("work")) {
        await storage.put("work", key, { key, state });
    }
}"""
COUNT_BITMAPS = """() => {
    window.bitmaps = { open: 0, most: 0 };
    const decode = createImageBitmap;
    window.createImageBitmap = async (...given) => {
        const bitmap = await decode(...given);
        if (given.length > 1) return bitmap; // one for the row of pictures
        bitmaps.most = Math.max(bitmaps.most, ++bitmaps.open);
        const close = bitmap.close.bind(bitmap);
        bitmap.close = () => {
            bitmaps.open -= 1;
            close();
        };
        return bitmap;
    };
}"""
