"""SAM's own code over transformers' weights, to compare with.

It and transformers' pipeline need torchvision, of which there is no CPU build everywhere, for
batched_nms, box_area, and resizing by PIL; and SAM needs OpenCV to number a mask's regions. Plain
versions of those stand in their place.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import measure
from transformers import SamModel
from transformers.utils.import_utils import BACKENDS_MAPPING

from benchmarks.comparison.mask_generation import batched_nms


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def connected_components(
    mask: NDArray[np.uint8], connectivity: int
) -> tuple[int, NDArray[np.int64], NDArray[np.int64], None]:
    """cv2.connectedComponentsWithStats, with the areas alone as statistics."""
    regions = measure.label(mask, connectivity={4: 1, 8: 2}[connectivity])
    areas = np.bincount(regions.ravel())
    return len(areas), regions, areas[:, None], None


def stand_in_for_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cv2")
    module.__dict__["connectedComponentsWithStats"] = connected_components
    monkeypatch.setitem(sys.modules, "cv2", module)


def stand_in_for_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    contents: dict[str, dict[str, Any]] = {
        "torchvision": {},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": Image.fromarray},
    }
    for name, things in contents.items():
        module = ModuleType(name)
        module.__dict__.update(things)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(BACKENDS_MAPPING, "torchvision", (lambda: True, ""))


class SegmentAnything:
    """segment-anything's `Sam`, with its modules' interfaces over transformers' weights."""

    mask_threshold = 0.0
    image_format = "RGB"
    device = torch.device("cpu")

    def __init__(self, model: SamModel) -> None:
        from segment_anything.modeling import Sam

        self.model = model
        self.image_encoder = self
        self.prompt_encoder = self
        self.img_size = 1024
        self.postprocess_masks = Sam.postprocess_masks.__get__(self)
        self.pixel_mean = torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1)
        self.pixel_std = torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1)
        self.preprocess = Sam.preprocess.__get__(self)

    def to(self, device: str) -> SegmentAnything:
        return self

    def __call__(self, pixels: torch.Tensor | None = None, **prompts: Any) -> Any:
        if pixels is not None:
            return self.model.get_image_embeddings(pixels)
        return prompts, None

    def get_dense_pe(self) -> None:
        return None

    def mask_decoder(
        self,
        image_embeddings: torch.Tensor,
        sparse_prompt_embeddings: dict[str, Any],
        multimask_output: bool,
        **rest: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        prompts: dict[str, torch.Tensor] = {}
        if sparse_prompt_embeddings["points"] is not None:
            coords, labels = sparse_prompt_embeddings["points"]
            prompts |= {"input_points": coords[None].float(), "input_labels": labels[None]}
        if sparse_prompt_embeddings["boxes"] is not None:
            prompts["input_boxes"] = sparse_prompt_embeddings["boxes"].reshape(1, -1, 4)
        if sparse_prompt_embeddings["masks"] is not None:
            prompts["input_masks"] = sparse_prompt_embeddings["masks"]
        answer = self.model(
            image_embeddings=image_embeddings, multimask_output=multimask_output, **prompts
        )
        return answer.pred_masks[0], answer.iou_scores[0]
