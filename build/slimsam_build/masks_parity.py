"""The gate of slimsam_masks: an artifact beside the client's NumPy, on masks of several sizes."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_build.errors import ParityError
from slimsam_build.parity import Run
from slimsam_client.contract import (
    LOW_RES_SIZE,
    MASK_MULTIPLE,
    MASK_THRESHOLD,
    NUM_MASKS,
    Arrays,
)
from slimsam_client.image.load import resized_size
from slimsam_client.masks.axis import axes, dense_weights
from slimsam_client.masks.upscale import upscale_logits

SIZES: Final = ((512, 512), (333, 501), (250, 1100))
"""(height, width) of the pictures: with and without rows and columns that are added."""
PROMPTS: Final = 3
OFFSET: Final = 1.0
LEAST_IOU: Final = 0.9999
MOST_BOX: Final = 1
MOST_STABILITY: Final = 1e-4
MOST_AREA: Final = 2e-4
"""Of the area; masks of that IoU cannot be further apart."""


@dataclass(frozen=True)
class MasksMeasured:
    """What was found.

    Attributes:
        mask_iou_min: the least IoU of a mask with NumPy's.
        box_error: the most pixels between two sides of boxes.
        stability_error: the most between two stability scores.
        area_error: the most between two areas, as a part of the one that is expected.
        seconds: the median of 3 runs, 3 prompts at 512 x 512.
    """

    mask_iou_min: float
    box_error: int
    stability_error: float
    area_error: float
    seconds: float

    def as_report(self) -> dict[str, Any]:
        """Give what the report has under `parity`."""
        found = {name: value for name, value in asdict(self).items() if name != "seconds"}
        bounds = {
            "mask_iou_min": LEAST_IOU,
            "box_error": MOST_BOX,
            "stability_error": MOST_STABILITY,
            "area_error": MOST_AREA,
        }
        return {**found, "bounds": bounds}


def measure(run: Run) -> MasksMeasured:
    """Run an artifact of slimsam_masks beside NumPy."""
    overlaps, boxes, stabilities, areas = [1.0], [0], [0.0], [0.0]
    for seed, size in enumerate(SIZES):
        inputs = sample_inputs(size, seed)
        found = run(inputs)
        for name, value in expected(inputs, size).items():
            got = found[name][0]
            if name == "bits":
                masks = np.unpackbits(got, axis=-1)[:, : size[0], : size[1]]
                common = (masks & value).sum((1, 2))
                overlaps.append(float((common / (masks | value).sum((1, 2))).min()))
            elif name == "boxes":
                boxes.append(int(np.abs(got.astype(np.int64) - value).max()))
            elif name == "areas":
                areas.append(float((np.abs(got - value) / np.maximum(value, 1)).max()))
            elif name == "stability_score":
                difference = float(np.abs(got - value).max())
                stabilities.append(difference if np.isfinite(difference) else 1.0)
    return MasksMeasured(min(overlaps), max(boxes), max(stabilities), max(areas), _seconds(run))


def check(measured: MasksMeasured) -> None:
    """Compare with the bounds.

    Raises:
        ParityError: a figure misses its bound.
    """
    if (
        measured.mask_iou_min >= LEAST_IOU
        and measured.box_error <= MOST_BOX
        and measured.stability_error <= MOST_STABILITY
        and measured.area_error <= MOST_AREA
    ):
        return
    raise ParityError(
        f"parity gate, slimsam_masks: expected masks of IoU {LEAST_IOU} with NumPy's, boxes within "
        f"{MOST_BOX} pixel, stability scores within {MOST_STABILITY} and areas within {MOST_AREA} "
        f"of themselves; got {measured.mask_iou_min:.6f}, {measured.box_error}, "
        f"{measured.stability_error:.2g} and {measured.area_error:.2g}"
    )


def sample_inputs(size: tuple[int, int], seed: int = 0, prompts: int = PROMPTS) -> Arrays:
    """Make a request: waves of several lengths, as logits, for a picture of (height, width)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:LOW_RES_SIZE, :LOW_RES_SIZE] / LOW_RES_SIZE
    shape = (prompts, NUM_MASKS, 1, 1)
    logits = rng.uniform(-3, 1, shape) + sum(
        6 * np.sin(rng.uniform(3, 12, shape) * x + rng.uniform(3, 12, shape) * y + phase)
        for phase in rng.uniform(0, 6, 3)
    )
    return {
        "low_res_masks": logits.astype(np.float16)[None],
        **{
            name: dense_weights(axes.get(valid, pixels), MASK_MULTIPLE)[None]
            for name, valid, pixels in zip(
                ("row_weights", "column_weights"), resized_size(*size), size, strict=True
            )
        },
        "stability_offset": np.full((1, 1), OFFSET, np.float32),
        "chosen": np.arange(prompts * (NUM_MASKS - 1), dtype=np.int32)[None],
    }


def expected(inputs: Arrays, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Compute the answer in NumPy: bits as masks (M, height, width) uint8."""
    low = inputs["low_res_masks"][0, :, 1:].astype(np.float32)
    full = upscale_logits(low, resized_size(*size), size)
    masks = full > MASK_THRESHOLD
    lower, upper = (
        np.count_nonzero(full > MASK_THRESHOLD + sign * OFFSET, axis=(2, 3)) for sign in (-1, 1)
    )
    boxes = [_box(mask) for mask in masks.reshape(-1, *size)]
    return {
        "bits": masks.reshape(-1, *size).astype(np.uint8),
        "boxes": np.array(boxes).reshape(*masks.shape[:2], 4),
        "areas": np.count_nonzero(masks, axis=(2, 3)),
        "stability_score": upper / lower,
    }


def _box(mask: NDArray[np.bool_]) -> list[int]:
    y, x = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return [int(x[0]), int(y[0]), int(x[-1]), int(y[-1])] if len(x) else [0, 0, 0, 0]


def _seconds(run: Run) -> float:
    inputs = sample_inputs(SIZES[0])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
