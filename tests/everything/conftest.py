"""The references of everything mode: transformers' pipeline and SAM's own generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from references import SegmentAnything, stand_in_for_opencv
from transformers import SamModel

from benchmarks.comparison.mask_generation import Generator, make_pipeline
from slimsam_build.demo.scenes import draw_scene
from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer


@pytest.fixture
def sam(demo_server: EmbeddedServer) -> Iterator[SlimSam]:
    with SlimSam(demo_server.grpc_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="session")
def scenes() -> list[NDArray[np.uint8]]:
    """Three pictures of different sizes and shapes."""
    sizes = [(512, 512), (384, 512), (700, 640)]
    return [
        np.ascontiguousarray(draw_scene(900100 + number, max(size)).image[: size[0], : size[1]])
        for number, size in enumerate(sizes)
    ]


@pytest.fixture
def pipeline(plain_torchvision: None, demo_model: SamModel) -> Generator:
    """transformers' mask-generation: image and settings to masks (n, H, W) and scores (n,)."""
    return make_pipeline(demo_model)


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
