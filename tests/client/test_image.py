"""Images: every source, SAM's resizing, and every way in which one can be unusable."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from slimsam_client import ImageError, load_image
from slimsam_client.image import preprocess, resized_size


def png(pixels: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_source_gives_the_same_pixels(tmp_path: Path) -> None:
    pixels = data.chelsea()
    path = tmp_path / "chelsea.png"
    path.write_bytes(png(pixels))
    alpha = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    with path.open("rb") as file:
        for source in (
            path, str(path), png(pixels), bytearray(png(pixels)), file,
            Image.fromarray(pixels), pixels, alpha, png(alpha),
        ):  # fmt: skip
            assert np.array_equal(load_image(source), pixels), type(source)


def test_modes() -> None:
    grey = data.coins()
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(load_image(grey), expected)
    assert np.array_equal(load_image(png(grey)), expected)
    sixteen_bits = grey.astype(np.uint16) * 257
    assert np.array_equal(load_image(png(sixteen_bits)), expected)
    assert np.array_equal(load_image(Image.fromarray(grey.astype(np.float32))), expected)
    two = load_image(Image.fromarray(grey > 128))
    assert np.array_equal(two[:, :, 0], (grey > 128) * np.uint8(255))
    palette = Image.fromarray(data.coffee()).quantize(16)
    assert np.array_equal(load_image(palette), np.asarray(palette.convert("RGB")))
    assert load_image(Image.fromarray(data.coffee()).convert("CMYK")).shape == (400, 600, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = 255  # a bright quarter, top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    upright = load_image(buffer.getvalue())
    # What the tag means, from the EXIF standard: where row 0 and column 0 are shown.
    shown = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.transpose(1, 0, 2), 6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(pixels),
    }  # fmt: skip
    assert np.array_equal(upright, shown[orientation])


def test_sizes_round_as_sam_rounds() -> None:
    processor = SamImageProcessorPil()
    for length in range(1, 5001):
        for other in (1, 333, 1024, 5000):
            ours = resized_size(length, other)
            theirs = processor._get_preprocess_shape((length, other), 1024)
            assert ours == tuple(max(side, 1) for side in theirs), (length, other)
            assert resized_size(other, length) == ours[::-1]


@pytest.mark.parametrize(
    "pixels",
    [
        data.coffee(), data.astronaut(), data.chelsea()[:299, :447], data.rocket(),
        np.tile(data.coffee(), (4, 4, 1)), data.coffee()[:7], data.coffee()[:, :1],
    ],
    ids=lambda pixels: "x".join(map(str, pixels.shape[:2])),
)  # fmt: skip
def test_preprocess_equals_sams_processor(pixels: NDArray[np.uint8]) -> None:
    frame, input_size = preprocess(pixels)
    assert frame.shape == (1024, 1024, 3) and frame.dtype == np.uint8
    processor = SamImageProcessorPil(do_normalize=False, do_rescale=False)
    theirs = processor(np.ascontiguousarray(pixels), return_tensors="pt")
    assert input_size.dtype == np.int32
    assert input_size.tolist() == theirs["reshaped_input_sizes"][0].tolist()
    expected = theirs["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(frame, expected)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def png_header(width: int, height: int) -> bytes:
    """A small file that claims to be any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.png: expected a readable image file"):
        load_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="Is a directory"):
        load_image(tmp_path)


def test_not_an_image(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not an image")
    with pytest.raises(ImageError, match=r"notes\.png: expected an image that Pillow reads"):
        load_image(path)
    with pytest.raises(ImageError, match="image bytes: expected an image that Pillow reads"):
        load_image(b"")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
def test_a_truncated_image(form: str, share: float, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(data.coffee()).save(buffer, form)
    path = tmp_path / "half"
    path.write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
    with pytest.raises(ImageError, match="half: expected"):
        load_image(path)


def test_a_decompression_bomb() -> None:
    # Above Pillow's warning, above its error, and above a limit of the caller's.
    for side in (14_000, 60_000):
        with pytest.raises(ImageError, match="expected at most 178,956,970 pixels"):
            load_image(png_header(side, side))
    with pytest.raises(ImageError, match="at most 100 pixels .* got 450 x 300"):
        load_image(png(data.chelsea()[:300, :450]), max_pixels=100)


def test_no_pixels() -> None:
    for pixels in (np.zeros((0, 5, 3), np.uint8), np.zeros((5, 0), np.uint8)):
        with pytest.raises(ImageError, match="expected an image with pixels"):
            load_image(pixels)
    with pytest.raises(ImageError, match="expected an image with pixels, got 0 x 3"):
        load_image(Image.new("RGB", (0, 3)))
    with pytest.raises(ImageError):
        load_image(png_header(0, 3))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint16), np.zeros((4,), np.uint8),
        np.zeros((4, 4, 2), np.uint8), np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)  # fmt: skip
def test_another_kind_of_array(array: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match="expected a uint8 array") as caught:
        load_image(array)
    assert str(array.shape) in str(caught.value) and str(array.dtype) in str(caught.value)


def test_something_else() -> None:
    with pytest.raises(ImageError, match="expected a path, bytes, .* got int"):
        load_image(5)  # type: ignore[arg-type]
