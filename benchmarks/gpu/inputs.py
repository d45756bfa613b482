"""The same picture and clicks for every side, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slimsam_build import reference
from slimsam_client.contract import (
    EMBEDDING_CHANNELS,
    EMBEDDING_SIZE,
    FOREGROUND,
    MAX_PROMPTS,
    PIXEL_MEAN,
    PIXEL_STD,
)


@dataclass(frozen=True, eq=False)
class Clicks:
    """Clicks of one foreground point, in both forms.

    Attributes:
        points: (1, P, 1, 2) float32, for `SamModel`.
        labels: (1, P, 1) int32, for `SamModel`.
        requests: the decoder's inputs but the embedding, in its order, for requests of the
            contract's most prompts each.
    """

    points: Tensor
    labels: Tensor
    requests: list[list[Tensor]]


def frames(batch: int, device: str) -> list[Tensor]:
    """Give the encoder's inputs: (batch, 1024, 1024, 3) uint8 and (batch, 2) int32."""
    image, input_size = reference.sample_images()
    return [
        torch.from_numpy(array[:1]).repeat(batch, *[1] * (array.ndim - 1)).to(device)
        for array in (image, input_size)
    ]


def pixels(batch: int, device: str, dtype: torch.dtype) -> Tensor:
    """Give the same picture as `SamModel` takes it, (batch, 3, 1024, 1024)."""
    image = frames(1, device)[0].float()
    mean, deviation = (torch.tensor(value, device=device) for value in (PIXEL_MEAN, PIXEL_STD))
    one = ((image - mean) / deviation).permute(0, 3, 1, 2)
    return one.repeat(batch, 1, 1, 1).to(dtype).contiguous()


def embedding(device: str) -> Tensor:
    """Make numbers of an embedding's scale, (1, 256, 64, 64) float16."""
    generator = torch.Generator().manual_seed(0)
    size = (1, EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
    return (0.2 * torch.randn(size, generator=generator)).half().to(device)


def clicks(count: int, device: str) -> Clicks:
    """Make `count` clicks; the first ones are the same for all counts."""
    points = np.random.default_rng(0).uniform(20, 1000, (count, 1, 2)).astype(np.float32)
    labels = np.full((count, 1), FOREGROUND, np.int32)
    requests = []
    for first in range(0, count, MAX_PROMPTS):
        some = slice(first, first + MAX_PROMPTS)
        wire = reference.make_prompts("clicks", points[some], labels[some], absent=0).wire
        requests.append([torch.from_numpy(array).to(device) for array in wire.values()])
    theirs, told = (torch.from_numpy(array)[None].to(device) for array in (points, labels))
    return Clicks(theirs, told, requests)
