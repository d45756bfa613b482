"""Each encoding is inverted, and compared with an implementation that is not ours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from skimage import data, draw, measure

from slimsam_client import MaskError, encodings

Mask = NDArray[np.bool_]

SIZES = [(1, 1), (1, 9), (9, 1), (2, 2), (3, 8), (8, 3), (16, 16), (7, 31), (40, 53)]


def layouts(mask: Mask) -> Iterator[Mask]:
    """The same mask in every order of memory."""
    height, width = mask.shape
    yield mask
    yield np.asfortranarray(mask)
    spread = np.zeros((2 * height, 3 * width), np.bool_)
    spread[::2, ::3] = mask
    yield spread[::2, ::3]
    yield np.ascontiguousarray(mask[::-1, ::-1])[::-1, ::-1]


def masks() -> list[Mask]:
    """Noise of many densities, empty and full masks, single pixels, and objects of a photo."""
    rng = np.random.default_rng(7)
    found = []
    for size in SIZES:
        found += [np.zeros(size, np.bool_), np.ones(size, np.bool_)]
        found += [rng.random(size) < density for density in (0.03, 0.2, 0.5, 0.8, 0.97)]
        one = np.zeros(size, np.bool_)
        one[rng.integers(size[0]), rng.integers(size[1])] = True
        found += [one, ~one]
    found += [rng.random(rng.integers(1, 12, 2)) < rng.random() for _ in range(300)]
    return [*found, data.coins() > 110]


MASKS = masks()

INVERTIBLE: dict[str, Callable[[Mask], Mask]] = {
    "RLE": lambda mask: encodings.from_rle(encodings.to_rle(mask)),
    "RLE of JSON": lambda mask: encodings.from_rle(
        json.loads(json.dumps(encodings.to_json_rle(encodings.to_rle(mask))))
    ),
    "uncompressed RLE": lambda mask: encodings.from_rle(
        json.loads(json.dumps(encodings.to_uncompressed_rle(mask)))
    ),
    "PNG": lambda mask: encodings.from_png(encodings.to_png(mask)),
    "packed bits": lambda mask: encodings.from_packed_bits(
        encodings.to_packed_bits(mask), mask.shape
    ),
    "polygons": lambda mask: encodings.from_polygons(encodings.to_polygons(mask), mask.shape),
    "GeoJSON": lambda mask: encodings.from_polygons(
        json.loads(json.dumps(encodings.to_geojson(encodings.to_polygons(mask))))["coordinates"],
        mask.shape,
    ),
}


@pytest.mark.parametrize("name", list(INVERTIBLE))
def test_what_was_encoded_comes_back(name: str) -> None:
    for mask in MASKS:
        for same in layouts(mask):
            again = INVERTIBLE[name](same)
            assert again.dtype == np.bool_ and np.array_equal(again, mask), mask


def test_masks_without_pixels() -> None:
    for size in [(0, 5), (5, 0), (0, 0)]:
        mask = np.zeros(size, np.bool_)
        for name, again in INVERTIBLE.items():
            if name != "PNG":  # has none
                assert again(mask).shape == size
        with pytest.raises(MaskError, match="with pixels"):
            encodings.to_png(mask)
        assert encodings.to_box(mask) is None


def test_rle_is_cocos() -> None:
    for mask in MASKS:
        rle = encodings.to_rle(mask)
        assert np.array_equal(coco.decode(rle), mask)
        runs = encodings.to_uncompressed_rle(mask)
        assert coco.frPyObjects(runs, *mask.shape)["counts"] == rle["counts"]
        assert runs["counts"][0] == 0 if mask[0, 0] else runs["counts"][0] > 0
        for kind in (rle, runs, encodings.to_json_rle(rle)):
            assert encodings.rle_area(kind) == mask.sum()
        assert encodings.rle_box(rle) == encodings.to_box(mask)


def test_runs_of_all_lengths() -> None:
    """Compressed runs have one group of 5 bits or up to seven, and differences below 0."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        runs = (2.0 ** rng.uniform(0, 27, 12)).astype(int).tolist()
        size = [sum(runs), 1]
        rle = coco.frPyObjects({"size": size, "counts": runs}, *size)
        assert encodings.rle_area(rle) == sum(runs[1::2])
        assert encodings.rle_box(rle) == encodings.rle_box({"size": size, "counts": runs})  # type: ignore[typeddict-item]


def test_boxes_of_runs_without_a_pixel() -> None:
    """Other tools write such runs; pycocotools' own box of them is wrong."""
    rng = np.random.default_rng(2)
    for _ in range(1000):
        cuts = np.sort(rng.integers(0, 21, int(rng.integers(0, 8))))
        counts = np.diff([0, *cuts, 20]).tolist()
        runs: encodings.UncompressedRle = {"size": [4, 5], "counts": counts}
        rle: encodings.Rle = coco.frPyObjects(runs, 4, 5)
        expected = encodings.to_box(encodings.from_rle(runs))
        assert encodings.rle_box(runs) == encodings.rle_box(rle) == expected


def test_long_runs() -> None:
    mask = np.zeros((3000, 4000), np.bool_)
    mask[1000:2999, 1234:3777] = True
    mask[1500, 2000] = False
    rle = encodings.to_rle(mask)
    assert np.array_equal(encodings.from_rle(rle), mask)
    assert encodings.rle_box(rle) == encodings.to_box(mask) == (1234, 1000, 3777, 2999)


def test_png_is_one_bit_per_pixel() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    with Image.open(io.BytesIO(encodings.to_png(mask))) as image:
        assert image.mode == "1" and image.size == (64, 64)
        assert np.array_equal(np.asarray(image), mask)


def test_gray_pngs_are_masks_too() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(file, "PNG")
    assert encodings.from_png(file.getvalue()).tolist() == [[False, False, True, True]]


def test_bits_are_packed_row_after_row() -> None:
    mask = np.zeros((2, 5), np.bool_)
    mask[0, 0] = mask[1, 4] = True
    assert encodings.to_packed_bits(mask) == bytes([0b10000000, 0b01000000])


def test_a_box_holds_the_mask_and_no_more() -> None:
    for mask in MASKS:
        box = encodings.to_box(mask)
        if box is None:
            assert not mask.any()
            continue
        x0, y0, x1, y1 = box
        inner = mask[y0:y1, x0:x1]
        assert inner.sum() == mask.sum()
        assert inner[0].any() and inner[-1].any() and inner[:, 0].any() and inner[:, -1].any()


def doubled_area(ring: NDArray[np.int32]) -> int:
    x, y = ring.astype(np.int64).T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))


def test_polygons_are_the_connected_parts_and_their_holes() -> None:
    for mask in MASKS:
        polygons = encodings.to_polygons(mask)
        parts, count = measure.label(mask, connectivity=1, return_num=True)
        assert len(polygons) == count
        assert sum(doubled_area(ring) for rings in polygons for ring in rings) == 2 * mask.sum()
        for rings in polygons[:40]:
            part = encodings.from_polygons([rings], mask.shape)
            assert (
                len(np.unique(parts[part])) == 1 and part.sum() == (parts == parts[part][0]).sum()
            )
            around = measure.label(~np.pad(part, 1), connectivity=1, return_num=True)[1]
            assert len(rings) - 1 == around - 1  # all but the outside
            for index, ring in enumerate(rings):
                assert ring.dtype == np.int32
                assert (doubled_area(ring) > 0) == (index == 0)
                assert len(np.unique(ring, axis=0)) == len(ring), "no ring meets itself"
                steps = np.roll(ring, -1, axis=0) - ring
                assert ((steps == 0).sum(axis=1) == 1).all(), "along the pixels' edges"
                turned = (steps[:, 0] == 0) != (np.roll(steps, -1, axis=0)[:, 0] == 0)
                assert turned.all(), "a corner per point"


def test_filling_agrees_with_skimage() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        height, width = (int(side) for side in rng.integers(1, 30, 2))
        ring = rng.uniform(-8, 36, (int(rng.integers(3, 9)), 2))  # crosses itself, leaves the image
        rows, columns = draw.polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, (height, width))
        expected = np.zeros((height, width), np.bool_)
        expected[rows, columns] = True
        assert np.array_equal(encodings.from_polygons([[ring]], (height, width)), expected)


def test_geojson_closes_its_rings() -> None:
    mask = np.ones((3, 3), np.bool_)
    mask[1, 1] = False
    geometry = encodings.to_geojson(encodings.to_polygons(mask))
    assert geometry["type"] == "MultiPolygon"
    ((outer, hole),) = geometry["coordinates"]
    assert outer[0] == outer[-1] and hole[0] == hole[-1]
    assert sorted(outer[1:]) == [[0, 0], [0, 3], [3, 0], [3, 3]]
    assert sorted(hole[1:]) == [[1, 1], [1, 2], [2, 1], [2, 2]]
