"""The way from whatever image the user has to the encoder's frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from slimsam_client.contract import IMAGE_SIZE
from slimsam_client.errors import ImageError, SettingsError
from slimsam_client.image.file import exclusive, open_image, opened
from slimsam_client.image.pixels import has_deep_gray, to_rgb
from slimsam_client.image.reads import LimitedReads
from slimsam_client.numeric import as_number
from slimsam_client.quoting import quoted, quoted_value

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]
"""An image is a path, encoded bytes, an open binary file or an upload, a PIL image, or an array
HxW, HxWx3 or HxWx4."""

Images = list[Any] | tuple[Any, ...]
"""Several images are a list or a tuple of `ImageSource`s."""

MAX_PIXELS: Final = 178_956_970
"""Images with more pixels are refused unless the caller allows them. It is Pillow's own limit,
13,377 squared."""

MAX_SIDE: Final = 2**17
"""An image's side has at most so many pixels: resizing takes memory by the side, however thin the
image is."""

LARGER: Final = "load_image with a larger max_pixels takes it"

PORTABLE_FORMATS: Final = ("JPEG", "MPO", "PNG", "WEBP")
"""Any installation of Pillow decodes these formats to the same pixels."""


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image.

    EXIF orientation is applied; EXIF that cannot be read is ignored. Transparency is dropped, as
    `PIL.Image.convert("RGB")` does.

    Gray of more than 8 bits, or of floats, is scaled: the least number 2**k - 1 that no value
    exceeds becomes 255, so 4095 in an image of 12 bits, 65535 in one of 16, and 1 for floats of
    0..1 (for floats below a half, the least 1 / 2**k). Values that are negative, NaN or infinite
    are refused, and images of which fewer than 32 levels would be left. Of color of 16 bits Pillow
    reads the upper byte; an image in which no upper byte reaches 64 is refused.

    Args:
        source: a path, encoded bytes, an open binary file or upload, a PIL image of any mode, or a
            uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
        max_pixels: larger images are refused before they are decoded. It does not hold for arrays,
            which are decoded already.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: no such file, not an image, truncated, too large, no pixels, another dtype.
        SettingsError: max_pixels is no number.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    return _decoded(source, max_pixels, keep_file=False)[0]


def load_encoded(
    content: bytes, max_pixels: int, formats: Sequence[str], advice: str
) -> NDArray[np.uint8]:
    """Read an encoded image that somebody else sent, as `load_image` does.

    Args:
        content: the encoded image.
        max_pixels: larger images are refused before they are decoded.
        formats: Pillow's names of the formats that are read; no other plugin sees the content.
        advice: what the message says of an image that is larger.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: as `load_image`; or of another format, or of more parts than MAX_READS.
    """
    name = "image bytes"
    with open_image(LimitedReads(content, name), name, formats) as image:
        _check_size(image.size, name, max_pixels, advice)
        return to_rgb(image, name)


def load_portable_image(source: ImageSource) -> tuple[NDArray[np.uint8], bytes | None]:
    """Read an image as `load_image` does, and its file, if that is smaller and gives the same.

    Returns:
        (H, W, 3) uint8, RGB; and the encoded image if any other process decodes it to these
        pixels. It is None if there is no file, or if others might decode it otherwise: its format
        needs a plugin, its gray is scaled by rules that may differ in other versions, or it is
        truncated and this process lets Pillow fill it up.

    Raises:
        ImageError: as `load_image`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source), None
    return _decoded(source, MAX_PIXELS, keep_file=True)


def preprocess(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bring an image into the encoder's frame, as SAM's ResizeLongestSide does.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        The frame (1024, 1024, 3) uint8, the image top-left in it and zeros elsewhere; and
        input_size (2,) int32, its (height, width) there.

    Raises:
        ImageError: a side is longer than MAX_SIDE.
    """
    _check_side(image.shape[1], image.shape[0], "image")
    height, width = resized_size(image.shape[0], image.shape[1])
    resized = Image.fromarray(image)
    if resized.size != (width, height):
        resized = resized.resize((width, height), Image.Resampling.BILINEAR)
    frame = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    frame[:height, :width] = resized
    return frame, np.array([height, width], np.int32)


def resized_size(height: int, width: int) -> tuple[int, int]:
    """Give the size (height, width) with the longest side 1024, rounded as by SAM; at least 1."""
    scale = IMAGE_SIZE / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_ok:
        advice = (
            "give several images as a list"
            if array.dtype == np.uint8
            else "scale it to 0..255 first, for example "
            "(array * (255 / array.max())).astype(numpy.uint8)"
        )
        raise ImageError(
            "expected a uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, "
            f"got {quoted(str(array.dtype))} {array.shape}; {advice}"
        )
    if 0 in array.shape:
        raise ImageError(f"expected an image with pixels, got an array of shape {array.shape}")
    _check_side(array.shape[1], array.shape[0], "array")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array[:, :, :3])


def _decoded(
    source: Any, max_pixels: int, keep_file: bool
) -> tuple[NDArray[np.uint8], bytes | None]:
    limit = as_number(max_pixels)
    if limit is None:
        raise SettingsError(
            f"max_pixels: expected a number of pixels, got {quoted_value(max_pixels)}"
        )
    if isinstance(source, Image.Image):
        _check_size(source.size, "image", limit)
        with exclusive(source):
            return to_rgb(source, "image"), None
    with opened(source) as (file, name), open_image(file, name) as image:
        _check_size(image.size, name, limit)
        is_portable = (
            keep_file
            and image.format in PORTABLE_FORMATS
            and not has_deep_gray(image)
            and not ImageFile.LOAD_TRUNCATED_IMAGES
        )
        pixels = to_rgb(image, name)
        if not is_portable:
            return pixels, None
        file.seek(0)
        return pixels, file.read()


def _check_size(size: tuple[int, int], name: str, max_pixels: float, advice: str = LARGER) -> None:
    """Refuse an image without pixels, or with too many; `size` is (width, height)."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: expected an image with pixels, got {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: expected at most {max_pixels:,.0f} pixels, got {width} x {height}; {advice}"
        )
    _check_side(width, height, name)


def _check_side(width: int, height: int, name: str) -> None:
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{name}: expected sides of at most {MAX_SIDE:,} pixels, got {width} x {height}; "
            "cut it into pieces"
        )
