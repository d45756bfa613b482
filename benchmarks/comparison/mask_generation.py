"""transformers' mask-generation pipeline, everything mode's reference.

It asks for torchvision, of which there is no CPU build everywhere, for `batched_nms` alone. Where
there is none, a plain version stands in its place; it takes milliseconds of the pipeline's minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.utils.import_utils import BACKENDS_MAPPING

from slimsam_client import GenerateSettings

Found = tuple[NDArray[np.bool_], NDArray[np.float32]]
Generator = Callable[[NDArray[np.uint8], GenerateSettings], Found]
"""Image (H, W, 3) and settings to masks (n, H, W) and scores (n,)."""


def make_pipeline(model: SamModel) -> Generator:
    """Make the pipeline; only those settings reach it that it has."""
    if "torchvision" not in sys.modules and find_spec("torchvision") is None:
        _stand_in_for_torchvision()
    from transformers.pipelines.mask_generation import MaskGenerationPipeline

    pipeline = MaskGenerationPipeline(model=model, image_processor=_Float32Scores())

    def run(image: NDArray[np.uint8], settings: GenerateSettings) -> Found:
        found = pipeline(
            Image.fromarray(image),
            points_per_batch=settings.points_per_batch,
            points_per_crop=settings.points_per_side,
            pred_iou_thresh=settings.pred_iou_thresh,
            stability_score_thresh=settings.stability_score_thresh,
            stability_score_offset=settings.stability_score_offset,
            crops_nms_thresh=settings.box_nms_thresh,
        )
        masks = np.array([np.asarray(mask) for mask in found["masks"]], np.bool_)
        return masks.reshape(-1, *image.shape[:2]), np.asarray(found["scores"], np.float32)

    return run


class _Float32Scores(SamImageProcessorPil):  # type: ignore[misc]
    """torchvision's suppression wants scores of the boxes' dtype, which is float32."""

    def post_process_for_mask_generation(
        self, all_masks: Any, all_scores: torch.Tensor, all_boxes: Any, crops_nms_thresh: float
    ) -> Any:
        return super().post_process_for_mask_generation(
            all_masks, all_scores.float(), all_boxes, crops_nms_thresh
        )


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Do what torchvision.ops.boxes.batched_nms does, for boxes of one class."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left = scores.argsort(descending=True, stable=True)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[left, :2])
        high = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        common = (high - low).clamp(min=0).prod(1)
        left = left[~(common / (areas[best] + areas[left] - common) > iou_threshold)]
    return torch.tensor(kept, dtype=torch.int64)


def _stand_in_for_torchvision() -> None:
    for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes"):
        sys.modules[name] = ModuleType(name)
    sys.modules["torchvision.ops.boxes"].__dict__["batched_nms"] = batched_nms
    BACKENDS_MAPPING["torchvision"] = (lambda: True, "")
