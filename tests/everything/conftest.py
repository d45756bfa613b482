"""The references of everything mode: transformers' pipeline and SAM's own generator.

Both need torchvision, of which there is no CPU build everywhere, for batched_nms, box_area, and
resizing by PIL. Plain versions of those stand in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import SamModel
from transformers.utils.import_utils import BACKENDS_MAPPING

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """torchvision.ops.boxes.batched_nms, box by box."""
    left = scores.argsort(descending=True, stable=True).tolist()
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        left = [
            other
            for other in left
            if idxs[other] != idxs[best] or not iou(boxes[best], boxes[other]) > iou_threshold
        ]
    return torch.tensor(kept, dtype=torch.int64)


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    low, high = torch.maximum(one[:2], other[:2]), torch.minimum(one[2:], other[2:])
    common = (high - low).clamp(min=0).prod()
    return common / (box_area(one[None])[0] + box_area(other[None])[0] - common)


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


@pytest.fixture
def plain_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.fixture(scope="session")
def demo_model() -> SamModel:
    return load_checkpoint("demo").model


@pytest.fixture(scope="session")
def demo_server(demo_repository: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(demo_repository) as server:
        yield server


@pytest.fixture
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def scenes() -> list[NDArray[np.uint8]]:
    """Four pictures of different sizes and shapes."""
    sizes = [(512, 512), (384, 512), (512, 300), (700, 640)]
    return [
        np.ascontiguousarray(draw_scene(900100 + number, max(size)).image[: size[0], : size[1]])
        for number, size in enumerate(sizes)
    ]


@pytest.fixture
def pipeline(
    plain_torchvision: None, demo_model: SamModel
) -> Callable[[NDArray[np.uint8], GenerateSettings], tuple[NDArray[np.bool_], NDArray[np.float32]]]:
    """transformers' mask-generation: image and settings to masks (n, H, W) and scores (n,)."""
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
    from transformers.pipelines.mask_generation import MaskGenerationPipeline

    generator = MaskGenerationPipeline(model=demo_model, image_processor=SamImageProcessorPil())

    def run(
        image: NDArray[np.uint8], settings: GenerateSettings
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        found = generator(
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
        return prompts["points"], None

    def get_dense_pe(self) -> None:
        return None

    def mask_decoder(
        self,
        image_embeddings: torch.Tensor,
        sparse_prompt_embeddings: tuple[torch.Tensor, torch.Tensor],
        multimask_output: bool,
        **rest: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        coords, labels = sparse_prompt_embeddings
        answer = self.model(
            image_embeddings=image_embeddings,
            input_points=coords[None].float(),
            input_labels=labels[None],
            multimask_output=multimask_output,
        )
        return answer.pred_masks[0], answer.iou_scores[0]


@pytest.fixture
def sam_generator(
    plain_torchvision: None, demo_model: SamModel
) -> Callable[[NDArray[np.uint8], GenerateSettings], list[dict[str, Any]]]:
    """SAM's `SamAutomaticMaskGenerator`: image and settings to its records."""
    import dataclasses

    from segment_anything import SamAutomaticMaskGenerator

    def run(image: NDArray[np.uint8], settings: GenerateSettings) -> list[dict[str, Any]]:
        generator = SamAutomaticMaskGenerator(
            SegmentAnything(demo_model), **dataclasses.asdict(settings)
        )
        records: list[dict[str, Any]] = generator.generate(image)
        return records

    return run
