"""What `segment` takes `generate` takes, on the server and in the client alike."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from slimsam_client import GenerateSettings, ImageError, SlimSam, load_image
from slimsam_client.calls import Call
from slimsam_client.everything.remote import request_records, to_png
from slimsam_client.image.load import load_portable_image
from slimsam_client.testing import FakeServer

SETTINGS = GenerateSettings(points_per_side=3)
PIXELS = np.zeros((96, 64, 3), np.uint8)
PIXELS[20:70, 16:48] = 255, 0, 0
GRAY = PIXELS[:, :, 0].astype(np.uint16) * 16
MAGIC = b"TOYIMAGE"


class Toy(ImageFile.ImageFile):
    """A format that only a plugin reads, such as HEIC."""

    format = "TOY"

    def _open(self) -> None:
        assert self.fp is not None
        self.fp.seek(len(MAGIC))
        self._size, self._mode = (64, 96), "RGB"
        self.tile = [ImageFile._Tile("raw", (0, 0, 64, 96), len(MAGIC), ("RGB", 0, 1))]


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> bytes:
    Image.init()
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    Image.register_open("TOY", Toy, lambda prefix: prefix.startswith(MAGIC))
    return MAGIC + PIXELS.tobytes()


def encoded(array: Any = PIXELS, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(form="JPEG", exif=exif, quality=95)


def request(source: Any) -> Call:
    return next(request_records(source, SETTINGS))


def travels_as_file(source: Any) -> bool:
    (sent,) = request(source).arrays["image_bytes"].tolist()
    pixels = load_image(source)
    assert np.array_equal(load_image(sent), pixels)  # as the server reads it
    return sent != to_png(pixels)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "MPO"])
def test_files_that_every_pillow_reads_alike_travel_as_they_are(form: str, tmp_path: Path) -> None:
    content = encoded(form=form)
    path = tmp_path / "image"
    path.write_bytes(content)
    with path.open("rb") as file:
        for source in (content, bytearray(content), path, str(path), file, io.BytesIO(content)):
            assert request(source).arrays["image_bytes"].tolist() == [content]
    assert travels_as_file(turned())


@pytest.mark.parametrize("form", ["TIFF", "BMP", "GIF", "PPM", "JPEG2000"])
def test_other_formats_travel_as_pixels(form: str) -> None:
    assert not travels_as_file(encoded(form=form))


def test_a_format_that_only_the_client_reads_travels_as_png(toy: bytes) -> None:
    assert not travels_as_file(toy)


def test_what_other_versions_may_read_otherwise_travels_as_png(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not travels_as_file(encoded(GRAY))
    assert not travels_as_file(PIXELS)
    assert not travels_as_file(Image.open(io.BytesIO(encoded())))
    cut = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "JPEG")[:2000]
    with pytest.raises(ImageError):
        request(cut)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert not travels_as_file(cut)


def test_a_stream_is_read_once_and_an_image_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        reads = 0

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            return encoded()

    stream = Stream()
    assert request(stream).arrays["image_bytes"].tolist() == [encoded()]
    assert stream.reads == 1
    loads = []
    load = ImageFile.ImageFile.load
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (loads.append(1), load(self))[1])
    pixels, content = load_portable_image(encoded(form="JPEG"))
    assert content and pixels.shape == PIXELS.shape
    decoded = len(loads)
    loads.clear()
    load_image(encoded(form="JPEG"))
    assert decoded == len(loads)


@pytest.fixture(scope="module")
def sam() -> Iterator[SlimSam]:
    with FakeServer() as server, SlimSam(server.url) as client:
        yield client


SOURCES: dict[str, Any] = {
    "array": lambda: PIXELS,
    "gray array": lambda: PIXELS[:, :, 0],
    "RGBA array": lambda: np.dstack([PIXELS, PIXELS[:, :, :1]]),
    "PIL image": lambda: Image.fromarray(PIXELS),
    "gray PIL image": lambda: Image.fromarray(PIXELS).convert("L"),
    "CMYK PIL image": lambda: Image.fromarray(PIXELS).convert("CMYK"),
    "file": lambda: io.BytesIO(encoded()),
    "rotated JPEG": turned,
    "rotated PIL image": lambda: Image.open(io.BytesIO(turned())),
    "12 bits": lambda: encoded(GRAY),
    "floats": lambda: encoded((GRAY / 4080).astype(np.float32), "TIFF"),
    "transparent PNG": lambda: encoded(np.dstack([PIXELS, PIXELS[:, :, :1]])),
    "palette": lambda: Image.fromarray(PIXELS).quantize(4),
}


@pytest.mark.parametrize("kind", [*SOURCES, "plugin"])
def test_server_and_client_give_the_same_records(kind: str, sam: SlimSam, toy: bytes) -> None:
    make = SOURCES.get(kind, lambda: toy)
    assert sam.segment(make(), points=[(32, 40)]).masks.any()
    there, here = (sam.generate(make(), SETTINGS, on_server=where) for where in (True, False))
    assert len(here) >= 2
    assert [record.rle for record in there] == [record.rle for record in here]
    assert [record.bbox for record in there] == [record.bbox for record in here]


@pytest.mark.parametrize(
    "source",
    [b"no image", encoded()[:50], "nowhere.png", GRAY, np.broadcast_to(np.uint8(0), (2**18, 1)), 5],
    ids=["text", "cut off", "missing", "16 bits", "too long", "number"],
)
def test_server_and_client_refuse_the_same(source: Any, sam: SlimSam) -> None:
    for where in (True, False):
        with pytest.raises(ImageError):
            sam.generate(source, SETTINGS, on_server=where)
