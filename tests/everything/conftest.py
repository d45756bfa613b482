"""The references of everything mode: transformers' pipeline and SAM's own generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from references import SegmentAnything, stand_in_for_opencv
from transformers import SamModel

from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer


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


@pytest.fixture
def sam_generator(
    plain_torchvision: None, demo_model: SamModel, monkeypatch: pytest.MonkeyPatch
) -> Callable[[NDArray[np.uint8], GenerateSettings], list[dict[str, Any]]]:
    """SAM's `SamAutomaticMaskGenerator`: image and settings to its records."""
    import dataclasses

    from segment_anything import SamAutomaticMaskGenerator

    stand_in_for_opencv(monkeypatch)

    def run(image: NDArray[np.uint8], settings: GenerateSettings) -> list[dict[str, Any]]:
        generator = SamAutomaticMaskGenerator(
            SegmentAnything(demo_model), **dataclasses.asdict(settings)
        )
        records: list[dict[str, Any]] = generator.generate(image)
        return records

    return run
