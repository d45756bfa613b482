"""Non-maximal suppression of boxes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Check, unwatched


def box_nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    threshold: float,
    check: Check = unwatched,
) -> NDArray[np.int64]:
    """Drop each box that overlaps one of a higher score, as torchvision.ops.nms does.

    Args:
        boxes: (n, 4) float32, x0, y0, x1, y1.
        scores: (n,) float32; of equal ones the first wins.
        threshold: IoU above which the lower one is dropped.
        check: called before each box is compared with the others.

    Returns:
        Indices of the boxes that stay, by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order].astype(np.float64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = np.ones(len(order), np.bool_)
    for index in range(len(order)):
        if not alive[index]:
            continue
        check()
        rest = boxes[index + 1 :]
        size = np.minimum(rest[:, 2:], boxes[index, 2:]) - np.maximum(rest[:, :2], boxes[index, :2])
        common = np.clip(size, 0, None).prod(axis=1)
        union = areas[index + 1 :] + areas[index] - common
        # The quotient is multiplied out, so that boxes without area do not divide by zero.
        alive[index + 1 :] &= common <= threshold * union
    return order[alive].astype(np.int64)
