"""Masks of a batch as PNGs of one bit a pixel: white inside, black outside."""

from __future__ import annotations

from collections.abc import Iterable

from slimsam_client.batch.answer import Answer
from slimsam_client.batch.store import Store
from slimsam_client.encodings import from_rle, to_png


def write_masks(store: Store, answers: Iterable[Answer]) -> None:
    """Write masks/IMAGE/000.png and so on, in the order of the answers' masks."""
    for answer in answers:
        if answer.height is None or answer.width is None:
            continue
        size = [answer.height, answer.width]
        for index, mask in enumerate(answer.masks):
            pixels = from_rle({"size": size, "counts": mask.counts})
            store.replace(f"masks/{answer.image}/{index:03}.png", to_png(pixels))
