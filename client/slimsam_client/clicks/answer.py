"""The answer of `slimsam_click`: each mask in the form that its prompt asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.answers import Chosen
from slimsam_client.calls import Check, unwatched
from slimsam_client.clicks.request import MaskFormat
from slimsam_client.encodings import to_box, to_geojson, to_packed_bits, to_png, to_polygons
from slimsam_client.encodings.window import window_to_rle
from slimsam_client.errors import PromptError
from slimsam_client.masks.upscale import upscale_window

MAX_ANSWER_BYTES: Final = 2**26
MAX_POLYGON_PIXELS: Final = 2**24
"""Tracing a mask takes about 30 bytes for each pixel of its box."""


@dataclass(frozen=True, eq=False)
class ClickAnswer:
    """P objects with M masks each.

    Attributes:
        masks: (P, M) of bytes, in the form that was asked for.
        scores: (P, M) float32, the model's own estimate of each mask's IoU.
        boxes: (P, M, 4) int32, x0, y0, x1, y1 in pixels, right and lower edge exclusive, so that a
            box can be the next prompt's; zeros for an empty mask.
        areas: (P, M) int64, pixels of each mask.
        low_res_logits: (P, M, 256, 256) float16, by which a mask can be refined.
    """

    masks: NDArray[np.object_]
    scores: NDArray[np.float32]
    boxes: NDArray[np.int32]
    areas: NDArray[np.int64]
    low_res_logits: NDArray[np.float16]


@dataclass(frozen=True)
class _Mask:
    """A mask by the part of the picture that holds it.

    Attributes:
        window: (h, w) bool.
        corner: (y, x) of the window in the picture.
        size: (height, width) of the picture.
        logits: (256, 256) float16, from which it comes.
    """

    window: NDArray[np.bool_]
    corner: tuple[int, int]
    size: tuple[int, int]
    logits: NDArray[np.float16]

    @property
    def box(self) -> tuple[int, int, int, int]:
        box = to_box(self.window)
        if box is None:
            return 0, 0, 0, 0
        y, x = self.corner
        return box[0] + x, box[1] + y, box[2] + x, box[3] + y

    def whole(self) -> NDArray[np.bool_]:
        """Give the mask of the whole picture."""
        mask = np.zeros(self.size, np.bool_)
        (y, x), (height, width) = self.corner, self.window.shape
        mask[y : y + height, x : x + width] = self.window
        return mask


def answer_click(
    chosen: Chosen,
    form: MaskFormat,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    check: Check = unwatched,
    max_bytes: int = MAX_ANSWER_BYTES,
    max_polygon_pixels: int = MAX_POLYGON_PIXELS,
) -> ClickAnswer:
    """Scale masks to the picture as the SDK does, and encode them.

    Beside the answer, one mask at a time is in memory.

    Args:
        chosen: what `choose_masks` gave of the decoder's answer.
        form: how the masks are encoded.
        input_size: (height, width) of the picture in the 1024 frame.
        original_size: (height, width) of the picture.
        check: called before each mask; what it raises ends the work.
        max_bytes: bytes of all masks together.
        max_polygon_pixels: pixels of a mask's box whose polygons are traced.

    Raises:
        PromptError: the masks take more bytes, or polygons are asked for of a larger mask.
        MissingExtraError: polygons are asked for, and contourpy is not installed.
    """
    scores, logits = chosen
    places = list(np.ndindex(scores.shape))
    masks = np.empty(scores.shape, np.object_)
    boxes = np.zeros((*scores.shape, 4), np.int32)
    areas = np.zeros(scores.shape, np.int64)
    height, width = original_size
    if form == "bits":  # known before any is made
        _check_bytes(len(places) * -(-height * width // 8), form, max_bytes)
    total = 0
    for place in places:
        check()
        low_res = logits[place]
        corner, window = upscale_window(low_res.astype(np.float32), input_size, original_size)
        mask = _Mask(window, corner, original_size, low_res)
        boxes[place] = mask.box
        areas[place] = np.count_nonzero(window)
        if form == "polygons" and window.size > max_polygon_pixels:
            raise PromptError(
                f"format: expected rle, png or bits of a mask whose box has more than "
                f"{max_polygon_pixels:,} pixels (the server's max_polygon_pixels), got polygons of "
                f"one of {window.size:,}"
            )
        masks[place] = _ENCODERS[form](mask)
        total += len(masks[place])
        _check_bytes(total, form, max_bytes)
    return ClickAnswer(masks, scores, boxes, areas, logits)


def _check_bytes(total: int, form: str, max_bytes: int) -> None:
    if total > max_bytes:
        raise PromptError(
            f"format: expected masks of at most {max_bytes:,} bytes together (the server's "
            f"max_answer_bytes), got {total:,} or more as {form}; ask for rle, for the best masks "
            "alone, or for fewer objects at once"
        )


def _to_polygons(mask: _Mask) -> bytes:
    y, x = mask.corner
    polygons = [[ring + (x, y) for ring in polygon] for polygon in to_polygons(mask.window)]
    return json.dumps(to_geojson(polygons), separators=(",", ":")).encode()


_ENCODERS: Final[dict[MaskFormat, Callable[[_Mask], bytes]]] = {
    "rle": lambda mask: window_to_rle(mask.window, mask.corner, mask.size)["counts"],
    "png": lambda mask: to_png(mask.whole()),
    "polygons": _to_polygons,
    "bits": lambda mask: to_packed_bits(mask.whole()),
    "logits": lambda mask: mask.logits.astype("<f2").tobytes(),
}
