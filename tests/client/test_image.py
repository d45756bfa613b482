"""Images: every source gives the same pixels, upright, and SAM's resizing fits them in."""

from __future__ import annotations

import io
import os
import signal
import struct
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from installed import require
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from slimsam_client import ImageError, load_image
from slimsam_client.image.file import exclusive
from slimsam_client.image.load import MAX_SIDE, preprocess, resized_size


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
    gray = data.coins()
    expected = np.repeat(gray[:, :, None], 3, axis=2)
    assert np.array_equal(load_image(gray), expected)
    assert np.array_equal(load_image(png(gray)), expected)
    two = load_image(Image.fromarray(gray > 128))
    assert np.array_equal(two[:, :, 0], (gray > 128) * np.uint8(255))
    palette = Image.fromarray(data.coffee()).quantize(16)
    assert np.array_equal(load_image(palette), np.asarray(palette.convert("RGB")))
    assert load_image(Image.fromarray(data.coffee()).convert("CMYK")).shape == (400, 600, 3)


MODES = [
    "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV",
    "I", "F", "I;16", "I;16B", "I;16L", "I;16N", "BGR;15", "BGR;16", "BGR;24",
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:BGR;.. is deprecated:DeprecationWarning")  # Pillow 11's
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_that_pillow_has_is_read_or_refused(mode: str) -> None:
    try:
        image = Image.new(mode, (5, 3))
    except ValueError:
        pytest.skip("this Pillow does not have it")
    try:
        assert load_image(image).shape == (3, 5, 3)
    except ImageError as error:
        # What no version of Pillow, or not every one, converts to RGB.
        assert mode in ("LAB", "BGR;15", "BGR;16", "BGR;24"), error


def test_premultiplied_alpha_is_undone() -> None:
    for mode, premultiplied in (("LA", "La"), ("RGBA", "RGBa")):
        straight = Image.new(mode, (2, 2), (100,) * (len(mode) - 1) + (128,))
        found = load_image(straight.convert(premultiplied))
        assert np.abs(found.astype(int) - 100).max() <= 1


class Upload:
    """Starlette's UploadFile: `read` is to be awaited, `file` is the file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.filename = "photo.png"

    async def read(self, size: int = -1) -> bytes:
        raise NotImplementedError


class Stream:
    """A file that cannot be sought in, such as an answer of urllib."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)
        self.read = self.content.read


def test_uploads_and_streams() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    content = png(pixels)
    for max_size in (0, 10):
        with tempfile.SpooledTemporaryFile(max_size) as spooled:
            spooled.write(content)
            for source in (spooled, Upload(spooled)):  # type: ignore[arg-type]
                assert np.array_equal(load_image(source), pixels)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile() as named:
        named.write(content)
        assert np.array_equal(load_image(named), pixels)
    assert np.array_equal(load_image(Stream(content)), pixels)  # type: ignore[arg-type]
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader, open(write_end, "wb") as writer:
        writer.write(content)
        writer.close()
        assert np.array_equal(load_image(reader), pixels)
    upload = Upload(io.BytesIO(content))
    del upload.file
    with pytest.raises(ImageError, match=r"photo\.png: .* got Upload, whose .* asynchronous"):
        load_image(upload)  # type: ignore[arg-type]
    cut = Upload(io.BytesIO(content[:50]))
    with pytest.raises(ImageError, match=r"photo\.png: expected a whole image"):
        load_image(cut)  # type: ignore[arg-type]


def test_parts_of_memory() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    content = png(pixels)
    spread = bytes(byte for value in content for byte in (value, 0))
    for source in (memoryview(content), memoryview(spread)[::2]):
        assert np.array_equal(load_image(source), pixels)  # type: ignore[arg-type]
    released = memoryview(content)
    released.release()
    with pytest.raises(ImageError, match="image bytes: expected a binary file that can be read"):
        load_image(released)  # type: ignore[arg-type]


def test_one_source_for_several_images_is_read_by_one_thread_at_a_time() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    content = png(noise)
    inside = threading.Lock()
    overlaps: list[bool] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            alone = inside.acquire(blocking=False)
            overlaps.append(not alone)
            time.sleep(0.001)
            if alone:
                inside.release()
            return super().read(size)

    file = Watched(content)
    for source in (file, Upload(file), Image.open(Watched(content))):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(load_image, [source] * 4))
        assert all(np.array_equal(pixels, noise) for pixels in found)
    assert not any(overlaps)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_while_another_thread_reads() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    image = Image.open(io.BytesIO(png(pixels)))
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(image):
            held.set()
            done.wait(90)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if np.array_equal(load_image(image), pixels) else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0


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


JPEG = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)).save(JPEG, "JPEG")


def exif(*entries: bytes) -> bytes:
    count = struct.pack("<H", len(entries))
    return b"Exif\0\0II*\0\x08\0\0\0" + count + b"".join(entries) + bytes(4)


ORIENTATION = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)


@pytest.mark.parametrize(
    ("payload", "is_turned"),
    [
        (exif(ORIENTATION), True),
        (exif(ORIENTATION, struct.pack("<HHI4s", 0x11A, 2, 4, b"72\0\0")), True),
        (exif(ORIENTATION, struct.pack("<HHIhH", 0x103, 8, 1, -5, 0)), True),
        (exif(ORIENTATION, struct.pack("<HHII", 0x8769, 4, 1, 2**31)), True),
        (exif(struct.pack("<HHI4s", 0x112, 2, 4, b"six\0")), False),
        (exif(struct.pack("<HHIHH", 0x112, 3, 1, 77, 0)), False),
        (exif(struct.pack("<HHIHH", 0x112, 3, 2, 6, 6)), False),
        (exif(struct.pack("<HHIf", 0x112, 11, 1, float("nan"))), False),
        (b"Exif\0\0II*\0\xff\xff\xff\xff", False),
        (b"Exif\0\0no TIFF header", False),
        (b"Exif\0\0", False),
    ],
    ids=[
        "whole", "resolution as text", "negative", "a directory beyond the end",
        "orientation as text", "unknown orientation", "two orientations", "orientation NaN",
        "cut off", "no header", "empty",
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_pil", [False, True])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, which is left as it is
def test_exif_that_is_broken_costs_no_pixels(payload: bytes, is_turned: bool, as_pil: bool) -> None:
    jpeg = JPEG.getvalue()
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    content = jpeg[:2] + segment + jpeg[2:]
    found = load_image(Image.open(io.BytesIO(content)) if as_pil else content)
    expected = load_image(jpeg)
    assert np.array_equal(found, np.rot90(expected, -1) if is_turned else expected)


def test_sizes_round_as_sam_rounds() -> None:
    require("torch", "transformers")
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

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
    require("torch", "transformers")
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    frame, input_size = preprocess(pixels)
    assert frame.shape == (1024, 1024, 3) and frame.dtype == np.uint8
    processor = SamImageProcessorPil(do_normalize=False, do_rescale=False)
    theirs = processor(np.ascontiguousarray(pixels), return_tensors="pt")
    assert input_size.dtype == np.int32
    assert input_size.tolist() == theirs["reshaped_input_sizes"][0].tolist()
    expected = theirs["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(frame, expected)


@pytest.mark.parametrize("shape", [(MAX_SIDE + 1, 1, 3), (1, 10**8, 3)])
def test_a_thin_image_that_resizing_would_take_gigabytes_for(shape: tuple[int, int, int]) -> None:
    pixels = np.broadcast_to(np.zeros(3, np.uint8), shape)
    for take in (preprocess, load_image):
        with pytest.raises(ImageError, match="expected sides of at most 131,072 pixels"):
            take(pixels)
    thin = np.zeros((MAX_SIDE, 1, 3), np.uint8)
    assert preprocess(load_image(thin))[1].tolist() == [1024, 1]
