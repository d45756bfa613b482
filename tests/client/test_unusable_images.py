"""Every way in which an image can be unusable is an `ImageError` that says so, and nothing else."""

from __future__ import annotations

import base64
import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from slimsam_client import AsyncSlimSam, BatchError, ImageError, SettingsError, SlimSam, load_image
from slimsam_client.image import jpeg, reads, tiff
from slimsam_client.image.exif import MAX_EXIF_BYTES
from slimsam_client.image.load import load_encoded
from slimsam_client.testing import FakeServer

NOISE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)


def encoded(pixels: NDArray[Any], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def png(pixels: NDArray[Any]) -> bytes:
    return encoded(pixels, "PNG")


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
    Image.fromarray(NOISE).save(buffer, form)
    path = tmp_path / "half"
    path.write_bytes(buffer.getvalue()[: int(share * buffer.tell())])
    with pytest.raises(ImageError, match="half: expected"):
        load_image(path)


def test_a_decompression_bomb() -> None:
    # Above Pillow's warning, above its error, and above a limit of the caller's.
    for side in (13_400, 14_000, 60_000):
        with pytest.raises(ImageError, match="expected at most 178,956,970 pixels"):
            load_image(png_header(side, side))
    with pytest.raises(ImageError, match="at most 100 pixels, got 450 x 300; .* larger max_pixels"):
        load_image(png(np.zeros((300, 450, 3), np.uint8)), max_pixels=100)


def test_a_jpeg_of_many_scans() -> None:
    """Each is a pass over the whole picture, for as few bytes as its author likes."""
    content = encoded(NOISE, "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    most = content[:-2] + last * (jpeg.MAX_SCANS - content.count(b"\xff\xda")) + content[-2:]
    assert load_image(most).shape == NOISE.shape
    more = most[:-2] + last + most[-2:]
    for load in (load_image, lambda one: load_encoded(one, 10_000, ("JPEG",), "")):
        with pytest.raises(ImageError, match="image bytes: expected a JPEG of at most 100 scans"):
            load(more)


def test_a_jpeg_of_many_segments() -> None:
    content = encoded(NOISE, "JPEG")
    comments = b"\xff\xfe\x00\x02" * jpeg.MAX_SEGMENTS
    with pytest.raises(ImageError, match="expected a JPEG of .* 10,000 segments"):
        load_image(content[:2] + comments + content[2:])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}])
def test_jpegs_that_seem_to_have_many_scans(options: dict[str, Any]) -> None:
    """Such as in a comment, in the video behind a picture, or between restarts."""
    content = encoded(NOISE, "JPEG", **options)
    looks = b"\xff\xda" * 1000
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(looks)) + looks
    filling = b"\xff" * 1000
    for one in (
        content + looks,
        *(content[:2] + more + content[2:] for more in (comment, filling)),
    ):
        assert np.array_equal(load_image(one), load_image(content))


def test_a_tiff_of_more_numbers_than_tiles() -> None:
    """Pillow makes objects of each."""
    content = bytearray(encoded(NOISE, "TIFF"))
    (start,) = struct.unpack_from("<L", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    entries = range(start + 2, start + 2 + 12 * count, 12)
    (offsets,) = (at for at in entries if struct.unpack_from("<H", content, at) == (273,))
    struct.pack_into("<HLL", content, offsets + 2, 4, tiff.MAX_NUMBERS + 1, len(content))
    content += bytes(4 * (tiff.MAX_NUMBERS + 1))
    with pytest.raises(ImageError, match="at most 1,048,576 numbers in a tag, got 1,048,577"):
        load_encoded(bytes(content), 10_000, ("TIFF",), "")


def test_a_tiff_of_tags_without_an_end() -> None:
    """Behind as many as are looked at, one could have any number of numbers."""
    one = struct.pack("<HHQ8s", 40_000, 3, 1, b"")
    count = tiff.MAX_TAGS + 1
    content = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, count) + one * count
    with pytest.raises(ImageError, match="at most 65,535 tags"):
        load_encoded(content, 10_000, ("TIFF",), "")


def test_exif_that_is_too_long() -> None:
    """Of a PNG it is ignored, as all that cannot be read; of a JPEG Pillow reads it in any case."""
    turned = Image.Exif()
    turned[0x0112] = 6
    short, long = turned.tobytes(), turned.tobytes() + bytes(MAX_EXIF_BYTES)
    assert load_image(encoded(NOISE, "PNG", exif=short)).shape == (90, 60, 3)
    assert np.array_equal(load_image(encoded(NOISE, "PNG", exif=long)), NOISE)
    content = encoded(NOISE, "JPEG")
    segment = b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527)
    assert load_image(content[:2] + segment * 16 + content[2:]).shape == NOISE.shape
    with pytest.raises(ImageError, match="expected a JPEG of .* 1,048,576 bytes of EXIF"):
        load_image(content[:2] + segment * 17 + content[2:])


def many_parts(form: str, count: int) -> bytes:
    """A picture with so many parts that say nothing."""
    content = encoded(NOISE, form)
    if form == "PNG":
        return content[:33] + chunk(b"noNe", b"") * count + content[33:]
    if form == "GIF":
        start = 13 + 3 * 2 ** ((content[10] & 7) + 1)  # behind the palette
        return content[:start] + b"\x21\xfe\x01 \x00" * count + content[start:]
    return content[:2] + b"\xff\xfe\x00\x02" * count + content[2:]


@pytest.mark.parametrize("form", ["PNG", "GIF", "JPEG"])
def test_a_file_that_somebody_else_sent_has_no_more_parts_than_pictures_have(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow takes them one by one, in Python."""
    monkeypatch.setattr(reads, "MAX_READS", 3000)

    def load(count: int) -> NDArray[np.uint8]:
        return load_encoded(many_parts(form, count), 10_000, (form,), "")

    assert np.array_equal(load(500), load_image(encoded(NOISE, form)))
    with pytest.raises(ImageError, match="image bytes: expected a file of at most 3,000 segments"):
        load(3000)


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


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_pil_image(form: str) -> None:
    content = encoded(NOISE, form)
    try:
        image = Image.open(io.BytesIO(content[: len(content) * 2 // 3]))
    except OSError:
        pytest.skip("Pillow does not even open it")
    with pytest.raises(ImageError, match="image: expected a whole image, got a damaged"):
        load_image(image)


def test_a_closed_pil_image() -> None:
    opened = Image.open(io.BytesIO(png(NOISE)))
    made = Image.fromarray(NOISE)
    for image in (opened, made):
        image.close()
        with pytest.raises(ImageError, match="image: expected"):
            load_image(image)


def test_a_pil_image_whose_decoder_fails_in_any_way() -> None:
    class Broken(Image.Image):
        failure: BaseException = KeyError("x" * 100_000 + "\x1b[31m")

        def load(self) -> Any:
            raise self.failure

    image = Broken()
    image._size, image._mode = (4, 4), "RGB"
    for failure in (image.failure, MemoryError(), RuntimeError(), SyntaxError("no"), TypeError()):
        image.failure = failure
        with pytest.raises(ImageError, match="image: expected") as caught:
            load_image(image)
        assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)
    image.failure = Image.DecompressionBombError("large")  # some plugins ask it themselves
    with pytest.raises(ImageError, match=r"keeps \(large\); .* set PIL.Image.MAX_IMAGE_PIXELS"):
        load_image(image)
    image.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        load_image(image)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_bad_image_of_a_list_fails_alone(asynchronous: bool) -> None:
    content = png(NOISE)
    closed = io.BytesIO(content)
    closed.close()
    bad: list[Any] = [
        Image.open(io.BytesIO(content[: len(content) // 2])), closed, io.StringIO("text"),
        "photo\0.jpg", NOISE.astype(np.uint16), object(), None,
        Image.fromarray(np.full((9, 9), np.nan, np.float32)),
    ]  # fmt: skip
    images = [NOISE, *bad, content]
    with FakeServer() as server, pytest.raises(BatchError) as caught:
        if asynchronous:
            run(server.url, images)
        with SlimSam(server.url) as sam:
            sam.embed(images)
    assert sorted(caught.value.errors) == list(range(1, len(bad) + 1))
    assert all(isinstance(error, ImageError) for error in caught.value.errors.values())
    first, last = caught.value.results[0], caught.value.results[-1]
    assert np.array_equal(first.image_embeddings, last.image_embeddings)


def run(url: str, images: list[Any]) -> None:
    import asyncio

    async def embed() -> None:
        async with AsyncSlimSam(url) as sam:
            await sam.embed(images)

    asyncio.run(embed())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(png(NOISE))
    with path.open("rb") as closed:
        pass
    with pytest.raises(ImageError, match=r"photo\.png: expected a binary file that can be read"):
        load_image(closed)
    with path.open("wb") as write_only, pytest.raises(ImageError, match="can be read"):
        load_image(write_only)
    for text in (io.StringIO("text"), path.open(encoding="latin-1")):
        with text, pytest.raises(ImageError, match='got one of text; open it with mode "rb"'):
            load_image(text)  # type: ignore[arg-type]

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise RuntimeError("the disk is gone\x1b[2J" + "x" * 100_000)

    with pytest.raises(ImageError, match="can be read, got RuntimeError: the disk is") as caught:
        load_image(Failing())
    assert len(str(caught.value)) < 400 and "\x1b" not in str(caught.value)

    class FailingLater(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100:
                raise OSError("the disk is gone")
            return super().read(size)

    with pytest.raises(ImageError, match="the disk is gone"):
        load_image(FailingLater(png(NOISE)))


@pytest.mark.parametrize(
    "text",
    [
        "data:image/jpeg;base64," + base64.b64encode(bytes(200_000)).decode(),
        "data:image/png;base64,AAAA",
        base64.b64encode(bytes(range(256)) * 800).decode(),
        "https://example.org/photo.jpg",
        "/".join(["folder"] * 1000),
        "x" * 3000,
    ],
    ids=["data URL", "short data URL", "base64", "URL", "long path", "long name"],
)
def test_text_that_is_no_path(text: str) -> None:
    with pytest.raises(ImageError, match="text is taken for a path: give an image") as caught:
        load_image(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name", ["photo\0.jpg", "photo\n.jpg", "\x1b[31mphoto", "photo\u202egpj", "photo\udcff"]
)
def test_a_path_of_characters_that_a_terminal_would_act_on(name: str, tmp_path: Path) -> None:
    for source in (name, os.path.join(tmp_path, name)):
        with pytest.raises(ImageError, match="expected a readable image file") as caught:
            load_image(source)
        assert str(caught.value).isprintable()


def test_max_pixels_can_be_raised_while_pillows_limit_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(NOISE)
    assert np.array_equal(load_image(encoded(turned, "TIFF", exif=exif)), NOISE)
    assert np.array_equal(load_image(encoded(NOISE, "TIFF", compression="tiff_lzw")), NOISE)
    for form in ("PNG", "JPEG", "BMP", "TIFF", "GIF", "PPM"):
        content = encoded(NOISE, form)  # 5400 pixels; Pillow would refuse those above 2000
        assert load_image(content).shape == NOISE.shape
        assert load_image(content, max_pixels=np.int64(5400)).shape == NOISE.shape  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="at most 5,399 pixels, got 90 x 60"):
            load_image(content, max_pixels=5399)
    assert Image.MAX_IMAGE_PIXELS == 1000
    for wrong in ("many", None, True):
        with pytest.raises(SettingsError, match="max_pixels: expected a number"):
            load_image(content, max_pixels=wrong)  # type: ignore[arg-type]


def test_the_applications_filters_of_warnings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # Overlapping `warnings.catch_warnings` of two threads may restore in the wrong order.
    monkeypatch.setattr(warnings, "catch_warnings", None)
    contents = [png(NOISE)] * 3
    threads = [threading.Thread(target=load_image, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_image(contents[0]).shape == NOISE.shape


def test_what_pillow_says_of_transparent_palettes_is_not_passed_on() -> None:
    palette = Image.fromarray(NOISE).quantize(16)
    content = io.BytesIO()
    palette.save(content, "PNG", transparency=bytes(range(16)))
    assert isinstance(Image.open(content).info["transparency"], bytes)
    assert np.array_equal(load_image(content), np.asarray(palette.convert("RGB")))
