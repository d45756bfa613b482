"""What every side of a benchmark is given: one photograph, its large JPEG, and clicks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from slimsam_client import Embedding
from slimsam_client.image.load import preprocess

SIZE: Final = (1024, 768)
"""Width and height of the photograph that is clicked on and looked at in everything mode."""
JPEG_SIZE: Final = (4000, 3000)
"""12 megapixels."""
GRAIN: Final = 5
"""Noise of a camera's sensor, in gray levels: an enlarged photograph has no detail to compress."""


@dataclass(frozen=True, eq=False)
class Scene:
    """One image in every form.

    Attributes:
        photo: (768, 1024, 3) uint8.
        jpeg: the same at 4000 x 3000, as a file.
        frame: (1024, 1024, 3) uint8, the encoder's image.
        input_size: (2,) int32.
        pixel_values: (1, 3, 1024, 1024) float32, what `SamModel` is given.
        embedding: of `SamModel`, rounded to float16.
    """

    photo: NDArray[np.uint8]
    jpeg: Path
    frame: NDArray[np.uint8]
    input_size: NDArray[np.int32]
    pixel_values: torch.Tensor
    embedding: Embedding

    def clicks(self, count: int) -> NDArray[np.float32]:
        """Make points (count, 1, 2), (x, y) in pixels of the photo, which are those of the frame.

        Args:
            count: how many; the first ones are the same for all counts.
        """
        points = np.random.default_rng(0).uniform(0.02, 0.98, (count, 1, 2)) * SIZE
        return points.astype(np.float32)


def make_scene(model: SamModel, directory: Path) -> Scene:
    """Make the images, and embed the photo with `SamModel`.

    Args:
        model: the checkpoint.
        directory: where the JPEG is written.
    """
    original = Image.fromarray(data.coffee())
    width, height = original.height * SIZE[0] // SIZE[1], original.height
    original = original.crop((0, 0, width, height))
    photo = np.asarray(original.resize(SIZE, Image.Resampling.BICUBIC))
    jpeg = directory / "photo.jpg"
    large = np.asarray(original.resize(JPEG_SIZE, Image.Resampling.BICUBIC)).astype(np.float32)
    large += np.random.default_rng(0).standard_normal(large.shape, np.float32) * GRAIN
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(jpeg, quality=92)
    frame, input_size = preprocess(photo)
    pixel_values = SamImageProcessorPil()(images=photo, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        embeddings = model.get_image_embeddings(pixel_values)[0].numpy().astype(np.float16)
    height, width = photo.shape[:2]
    embedding = Embedding(embeddings, (height, width), (int(input_size[0]), int(input_size[1])))
    return Scene(photo, jpeg, frame, input_size, pixel_values, embedding)
