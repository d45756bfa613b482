"""What is no mask, and no encoding of one, is refused; nothing is decoded to something else."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from slimsam_client import MaskError, MaskRecord, MissingExtraError, encodings
from slimsam_client.encodings import UncompressedRle

ENCODERS = [
    encodings.to_rle,
    encodings.to_uncompressed_rle,
    encodings.to_png,
    encodings.to_packed_bits,
    encodings.to_polygons,
    encodings.to_box,
]


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((3, 4), np.uint8), "got uint8"),
        (np.zeros((3, 4), np.float32), "got float32"),
        (np.zeros((2, 3, 4), np.bool_), r"got shape \(2, 3, 4\)"),
        (np.zeros(4, np.bool_), r"got shape \(4,\)"),
        ([[True, False]], "got list"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_mask_is_refused(encode: Callable[[Any], Any], wrong: Any, message: str) -> None:
    with pytest.raises(MaskError, match=message):
        encode(wrong)


def test_damaged_rle_is_refused() -> None:
    """pycocotools gives whatever lay in memory for most of these."""
    mask = np.random.default_rng(5).random((4, 5)) < 0.5
    whole = encodings.to_rle(mask)["counts"]
    counts: list[Any] = [whole[:cut] for cut in range(len(whole))]
    counts += [
        b"",
        "",
        b"0",
        b"5",
        b"P",
        b"oooo",
        b"1O",
        b"\xff\xfe",
        "\u00e9",
        b"n" * 30 + b"0",
        b"d" + b"P" * 8 + b"0",
    ]
    counts += [
        [],
        [19],
        [21],
        [25, -5],
        [10, 2.0, 8],
        ["20"],
        [True] * 20,
        [2**70],
        None,
        20,
        [[20]],
    ]
    for wrong in counts:
        for read in (encodings.from_rle, encodings.rle_area, encodings.rle_box):
            with pytest.raises(MaskError):
                read({"size": [4, 5], "counts": wrong})
    for size in ([4, 6], [4], [4, 5, 1], [-4, -5], [4.5, 5], [math.inf, 5], ["4", "5"], None, 20):
        with pytest.raises(MaskError):
            encodings.from_rle({"size": size, "counts": whole})  # type: ignore[typeddict-item]
    for nothing in ({}, {"counts": whole}, {"size": [4, 5]}, None, b"x", [], mask):
        with pytest.raises(MaskError):
            encodings.from_rle(nothing)  # type: ignore[arg-type]


def test_no_text_makes_decoding_unsafe() -> None:
    rng = np.random.default_rng(11)
    for _ in range(3000):
        text = rng.integers(40, 120, int(rng.integers(1, 12)), np.uint8).tobytes()
        try:
            mask = encodings.from_rle({"size": [4, 5], "counts": text})
        except MaskError:
            continue
        assert np.array_equal(mask, coco.decode({"size": [4, 5], "counts": text}))


def test_runs_that_are_as_many_pixels_by_chance_are_refused() -> None:
    negative, wraps_around = [10, -5, 10, 5], [2**62] * 4 + [20]
    compressed = coco.frPyObjects({"size": [4, 5], "counts": [20]}, 4, 5)["counts"]
    other_letters = bytes([compressed[0] + 64])  # whose 5 bits are the same
    assert encodings.rle_area({"size": [4, 5], "counts": compressed}) == 0
    for counts in (negative, wraps_around, other_letters + compressed[1:]):
        with pytest.raises(MaskError):
            encodings.rle_area({"size": [4, 5], "counts": counts})  # type: ignore[typeddict-item]


def test_damaged_pngs_are_refused() -> None:
    whole = encodings.to_png(np.random.default_rng(0).random((50, 50)) < 0.5)
    for wrong in (b"", b"not a PNG", whole[:20], whole[: len(whole) // 2]):
        with pytest.raises(MaskError):
            encodings.from_png(wrong)


def test_pngs_of_too_many_pixels_are_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    with pytest.raises(MaskError, match="at most 178,956,970 pixels, got 20000 x 20000"):
        encodings.from_png(file.getvalue())
    small = encodings.to_png(np.ones((4, 5), np.bool_))
    with pytest.raises(MaskError, match="at most 19 pixels, got 4 x 5; a larger max_pixels"):
        encodings.from_png(small, max_pixels=19)
    assert encodings.from_png(small, max_pixels=20).shape == (4, 5)
    large = np.zeros((9_000, 10_000), np.bool_)  # Pillow warns of it
    large[-1, -1] = True
    assert np.array_equal(encodings.from_png(encodings.to_png(large)), large)


def test_a_few_bytes_of_rle_do_not_take_gigabytes() -> None:
    side = 60_000
    rle: UncompressedRle = {"size": [side, side], "counts": [side**2 - 5, 5]}
    with pytest.raises(MaskError, match="at most 178,956,970 pixels, got 60000 x 60000"):
        encodings.from_rle(rle)
    assert encodings.rle_area(rle) == 5
    assert encodings.rle_box(rle) == (side - 1, side - 5, side, side)
    with pytest.raises(MaskError, match="a larger max_pixels takes it"):
        encodings.from_rle({"size": [4, 5], "counts": [20]}, max_pixels=19)
    assert encodings.from_rle({"size": [4, 5], "counts": [20]}, max_pixels=20).shape == (4, 5)
    for size in ([2**31, 0], [2**31 - 1, 3], [10**5000, 1], [2**20, 2**20]):
        with pytest.raises(MaskError):
            encodings.rle_area({"size": size, "counts": [2**20 * 2**20]})
        with pytest.raises(MaskError):
            encodings.from_packed_bits(b"", size)  # type: ignore[arg-type]


def test_messages_quote_little_of_what_is_wrong() -> None:
    long = "x" * 1_000_000 + "\x1b[2J"
    failures: list[Callable[[], Any]] = [
        lambda: encodings.from_rle({"size": [4, 5], "counts": [long]}),  # type: ignore[list-item]
        lambda: encodings.from_rle({"size": [long] * 9, "counts": ""}),  # type: ignore[list-item]
        lambda: encodings.from_polygons([[[long, long]]], (4, 5)),
        lambda: encodings.from_polygons([[long]], (4, 5)),  # type: ignore[list-item]
        lambda: encodings.from_packed_bits(b"", long),  # type: ignore[arg-type]
        lambda: encodings.from_png(long.encode()),
        lambda: MaskRecord.from_dict({"segmentation": {"size": [4, 5], "counts": long}}),
        lambda: MaskRecord.from_dict(
            {"segmentation": {"size": [1, 1], "counts": "1"}, "stability_score": 1,
             "point_coords": [[1, 2]], "area": long}
        ),
    ]  # fmt: skip
    for fail in failures:
        with pytest.raises(MaskError) as caught:
            fail()
        assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_packed_bits_of_another_size_are_refused() -> None:
    data = encodings.to_packed_bits(np.ones((3, 5), np.bool_))
    for size in [(3, 6), (2, 4), (0, 0), (-3, -5), (3, 5, 1), 15]:
        with pytest.raises(MaskError):
            encodings.from_packed_bits(data, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ring",
    [[], [(0, 0), (1, 1)], [(0, 0, 0)] * 3, [(0, 0), (1, np.nan), (2, 2)],
     [(-1e308, -1e308), (1e308, 1e308), (0, 5)], [1, [2, 3]], "abc"],
)  # fmt: skip
def test_what_is_no_ring_is_refused(ring: Any) -> None:
    with pytest.raises(MaskError, match="polygon"):
        encodings.from_polygons([[ring]], (5, 5))


@pytest.mark.parametrize("polygons", [None, 5, [1, 2], [[1, 2, 3, 4, 5, 6]]])
def test_what_are_no_polygons_is_refused(polygons: Any) -> None:
    with pytest.raises(MaskError, match="polygon"):
        encodings.from_polygons(polygons, (5, 5))


def test_polygons_say_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "contourpy", None)
    with pytest.raises(MissingExtraError, match=r"slimsam-client\[polygons\]"):
        encodings.to_polygons(np.ones((2, 2), np.bool_))
