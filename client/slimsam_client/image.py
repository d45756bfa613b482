"""Images: from whatever the user has to the encoder's frame."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from slimsam_client.contract import IMAGE_SIZE
from slimsam_client.errors import ImageError

ImageSource = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[Any]
"""A path, encoded bytes, an open binary file, a PIL image, or an array HxW, HxWx3 or HxWx4."""

Images = list[Any] | tuple[Any, ...]
"""Several `ImageSource`s."""

MAX_PIXELS: Final = 178_956_970
"""Pillow's own limit of pixels at which it speaks of a decompression bomb: 13,377 squared."""


def load_image(source: ImageSource, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read an image.

    EXIF orientation is applied. Transparency is dropped, as `PIL.Image.convert("RGB")` does.

    Args:
        source: a path, encoded bytes, an open binary file, a PIL image of any mode, or a uint8
            array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ImageError: no such file, not an image, truncated, too large, no pixels, another dtype.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_rgb(source, "image", max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), "image bytes", max_pixels)
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        try:
            with Path(name).open("rb") as file:
                return _decode(file, name, max_pixels)
        except OSError as error:
            raise ImageError(
                f"{name}: expected a readable image file, got {error.strerror or error}; "
                "check the path"
            ) from error
    if hasattr(source, "read"):
        return _decode(source, str(getattr(source, "name", "image file")), max_pixels)
    raise ImageError(
        "expected a path, bytes, a binary file, a PIL image or a NumPy array, "
        f"got {type(source).__name__}; give several images as a list"
    )


def preprocess(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Bring an image into the encoder's frame, as SAM's ResizeLongestSide does.

    Args:
        image: (H, W, 3) uint8, RGB.

    Returns:
        The frame (1024, 1024, 3) uint8, the image top-left in it and zeros elsewhere; and
        input_size (2,) int32, its (height, width) there.
    """
    height, width = resized_size(image.shape[0], image.shape[1])
    resized = Image.fromarray(image)
    if resized.size != (width, height):
        resized = resized.resize((width, height), Image.Resampling.BILINEAR)
    frame = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    frame[:height, :width] = resized
    return frame, np.array([height, width], np.int32)


def resized_size(height: int, width: int) -> tuple[int, int]:
    """Size (height, width) with the longest side 1024, rounded as SAM rounds; at least 1."""
    scale = IMAGE_SIZE / max(height, width)
    return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not shape_ok:
        raise ImageError(
            "expected a uint8 array (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, "
            f"got {array.dtype} {array.shape}; convert it to 0..255 first, "
            "and give several images as a list"
        )
    if 0 in array.shape:
        raise ImageError(f"expected an image with pixels, got an array of shape {array.shape}")
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array[:, :, :3])


def _decode(file: IO[bytes], name: str, max_pixels: int) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            # The limit is ours, and an error; Pillow's softer one would only warn.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                return _to_rgb(image, name, max_pixels)
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: expected an image that Pillow reads (JPEG, PNG, WebP, ...), "
            "got something else; check the file"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {_too_large(max_pixels)}: {error}") from error
    except ImageError:
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise ImageError(
            f"{name}: expected a whole image, got a damaged or truncated one ({error}); "
            "fetch it again"
        ) from error


def _to_rgb(image: Image.Image, name: str, max_pixels: int) -> NDArray[np.uint8]:
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: expected an image with pixels, got {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(f"{name}: {_too_large(max_pixels)}, got {width} x {height}")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16") or upright.mode in ("I", "F"):
        # Pillow clips these instead of scaling them.
        return _scaled(np.asarray(upright), upright.mode)
    return np.array(upright.convert("RGB"))


def _scaled(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """16-bit grey to 8 bits by its upper byte; float and 32-bit grey by clipping to 0..255."""
    if mode.startswith("I;16") or (mode == "I" and values.max(initial=0) > 255):
        values = np.clip(values.astype(np.int64), 0, 65535) >> 8
    grey = np.clip(np.nan_to_num(values), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _too_large(max_pixels: int) -> str:
    return f"expected at most {max_pixels:,} pixels (a larger max_pixels lifts the limit)"
