"""Suffixes by which image files are known."""

from __future__ import annotations

from typing import Final

IMAGE_SUFFIXES: Final = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
"""Files with these suffixes, in capitals too, are images; the rest of a folder is left alone."""
