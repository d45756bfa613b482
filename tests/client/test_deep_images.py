"""Images of more than 8 bits or of floats keep their contrast, or are refused; none turns black."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import ImageError, load_image
from slimsam_client.image.pixels import full_scale

RAMP = np.tile(np.arange(256), (4, 1))


def encoded(array: NDArray[Any], form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()


def gray(source: Any) -> NDArray[np.uint8]:
    pixels = load_image(source)
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (RAMP.astype(np.uint16) * 257, "PNG"),
        (RAMP.astype(np.uint16) * 257, "TIFF"),
        (RAMP.astype(np.uint16), "PNG"),
        (RAMP.astype(np.uint16), "TIFF"),
        (RAMP.astype(np.int32), "TIFF"),
        ((RAMP * (2**31 - 1) // 255).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP / 255).astype(np.float32), "TIFF"),
        ((RAMP / 255 / 1024).astype(np.float32), "TIFF"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.dtype} to {value.max():g}",
)
def test_full_scales_become_255(array: NDArray[Any], form: str) -> None:
    for source in (encoded(array, form), Image.open(io.BytesIO(encoded(array, form)))):
        assert np.array_equal(gray(source), RAMP)


def test_12_bits_in_16() -> None:
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (4, 1))
    assert np.array_equal(gray(encoded(ramp, "PNG")), (ramp * (255 / 4095) + 0.5).astype(np.uint8))
    darker = gray(encoded(np.minimum(ramp, 2500), "PNG"))  # still of 12 bits
    assert darker.max() == round(2500 * 255 / 4095)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N", "I", "F"])
def test_every_mode_of_deep_gray(mode: str) -> None:
    image = Image.new(mode, (3, 2), 4095)
    assert (gray(image) == 255).all()
    assert gray(image).shape == (2, 3)
    assert (gray(Image.new(mode, (3, 2))) == 0).all()  # black as it is


@pytest.mark.parametrize(
    ("high", "full"),
    [
        (255, 255), (256, 511), (4095, 4095), (65535, 65535), (2**31 - 1, 2**31 - 1), (1, 1),
        (2, 3), (1.02, 3), (254.5, 255), (0.7, 1), (0.5, 0.5), (0.3, 0.5), (0.001, 2**-9), (0, 1),
    ],
)  # fmt: skip
def test_the_full_scale_is_the_least_that_no_value_exceeds(high: float, full: float) -> None:
    assert full_scale(high) == full


@pytest.mark.parametrize("value", [0, 1, 100, 1000, 40_000])
def test_an_image_of_one_value_is_of_one_gray(value: int) -> None:
    pixels = gray(Image.fromarray(np.full((5, 5), value, np.uint16)))
    assert len(np.unique(pixels)) == 1 and (pixels.max() >= 127) == (value > 0)


def test_few_values_stay_apart() -> None:
    labels = np.array([[0, 1, 2, 3]], np.uint16)
    assert gray(Image.fromarray(labels)).tolist() == [[0, 85, 170, 255]]
    mask = np.array([[0, 1]], np.int32)
    assert gray(Image.fromarray(mask)).tolist() == [[0, 255]]


@pytest.mark.parametrize("value", [-1.0, -1e-9, np.nan, np.inf, -np.inf])
def test_values_without_a_scale_are_refused(value: float) -> None:
    array = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    array[3, 3] = value
    with pytest.raises(ImageError, match="expected gray values from 0 on, got"):
        load_image(Image.fromarray(array))


def test_signed_integers_are_refused() -> None:
    hounsfield = np.linspace(-1024, 3071, 100).astype(np.int32).reshape(10, 10)
    with pytest.raises(ImageError, match="got -1024 to 3071; choose the range that matters"):
        load_image(encoded(hounsfield, "TIFF"))


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(32_768, 34_000, 100).astype(np.uint16),
        np.linspace(0.9, 0.95, 100).astype(np.float32),
        np.linspace(100_000, 101_000, 100).astype(np.int32),
    ],
    ids=lambda array: str(array.dtype),
)
def test_contrast_far_above_black_is_not_lost_without_a_word(array: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match="fewer than 32 levels of 255"):
        load_image(Image.fromarray(array.reshape(10, 10)))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def color_png(values: NDArray[np.uint16], color_type: int) -> bytes:
    """A PNG of 16 bits a channel, (H, W, channels), which Pillow itself does not write."""
    height, width, _ = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_color_of_16_bits(color_type: int, channels: int) -> None:
    values = np.repeat(RAMP[:, :, None].astype(np.uint16) * 257, channels, axis=2)
    for open_it in (bytes, lambda content: Image.open(io.BytesIO(content))):
        assert np.array_equal(gray(open_it(color_png(values, color_type))), RAMP)
        dark = values >> 4  # 12 bits, of which Pillow's 8 upper ones would leave 4
        if channels != 3:
            dark[:, :, -1] = 65535
        with pytest.raises(ImageError, match="expected a color image of 16 bits that uses them"):
            load_image(open_it(color_png(dark, color_type)))


def test_other_formats_of_16_bits_a_channel() -> None:
    for level, is_dark in ((4095, True), (65535, False)):
        content = b"P6 2 2 65535\n" + struct.pack(">H", level) * 12
        if is_dark:
            with pytest.raises(ImageError, match="color image of 16 bits"):
                load_image(content)
        else:
            assert (load_image(content) == 255).all()
    assert (load_image(b"P6 2 2 4095\n" + struct.pack(">H", 4095) * 12) == 255).all()
    dark = np.full((4, 4, 3), 3, np.uint8)
    assert (load_image(encoded(dark, "PNG")) == 3).all()  # 8 bits are as they are
    assert (load_image(encoded(dark, "PPM")) == 3).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, np.float16, np.float32, np.bool_])
def test_arrays_other_than_uint8_say_how_to_scale_them(dtype: type) -> None:
    with pytest.raises(ImageError, match=r"expected a uint8 array .* scale it to 0\.\.255 first"):
        load_image(np.zeros((4, 4, 3), dtype))
