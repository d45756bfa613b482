"""A bit per pixel: PNG, and packed bits."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.encodings.mask import check_pixels, checked_mask, checked_size
from slimsam_client.errors import ImageError, MaskError
from slimsam_client.image.file import open_image
from slimsam_client.image.load import MAX_PIXELS
from slimsam_client.quoting import quoted


def to_png(mask: NDArray[np.bool_]) -> bytes:
    """Encode (H, W) bool as a PNG of one bit per pixel.

    Raises:
        MaskError: the mask is no bool array (H, W), or has no pixels.
    """
    if 0 in checked_mask(mask).shape:
        raise MaskError(f"PNG: expected a mask with pixels, got shape {mask.shape}")
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG", optimize=True)
    return file.getvalue()


def from_png(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.bool_]:
    """Decode a PNG to (H, W) bool; gray values above 127 are inside.

    Args:
        data: the file.
        max_pixels: larger ones are refused before they are decoded.

    Raises:
        MaskError: it is no PNG, a damaged one, or has more pixels.
    """
    try:
        with open_image(io.BytesIO(data), "PNG", ["PNG"]) as image:
            check_pixels("PNG", image.height, image.width, max_pixels)
            return np.asarray(image.convert("L")) > 127
    except MaskError:
        raise
    except ImageError as error:
        raise MaskError(str(error)) from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        raise MaskError(
            f"PNG: expected a whole one, got something else ({quoted(str(error))})"
        ) from error


def to_packed_bits(mask: NDArray[np.bool_]) -> bytes:
    """Pack (H, W) bool into bits, row after row without gaps, the first in the highest bit.

    Raises:
        MaskError: the mask is no bool array (H, W).
    """
    return np.packbits(checked_mask(mask)).tobytes()


def from_packed_bits(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Unpack bits to (H, W) bool.

    Args:
        data: ceil(H * W / 8) bytes.
        size: (height, width).

    Raises:
        MaskError: there are more or fewer bytes.
    """
    height, width = checked_size(size)
    if len(data) != -(-height * width // 8):
        raise MaskError(
            f"packed bits: expected {-(-height * width // 8)} bytes for {height} x {width} pixels, "
            f"got {len(data)}"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=height * width)
    return bits.reshape(height, width).view(np.bool_)
