"""What an artifact is compared with: `SamModel` itself, on images and prompts of every kind.

The reference goes through transformers' own prompt arguments, the artifact through the contract's
wire tensors, so the comparison covers the encoding of prompts too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SamModel

from slimsam_client.contract import (
    ABSENT,
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    IMAGE_SIZE,
    LOW_RES_SIZE,
    NOT_A_POINT,
    PIXEL_MEAN,
    PIXEL_STD,
)

SIZES = ((1024, 1024), (683, 1024))
"""Valid (height, width) of the two images: one full frame, one letterboxed."""


@dataclass(frozen=True)
class Prompts:
    """Prompts for one image, in both forms.

    Attributes:
        name: which kind they are.
        arguments: keyword arguments of `SamModel`, without the image.
        wire: the decoder's inputs, all but `image_embeddings`, with a batch axis of 1.
    """

    name: str
    arguments: dict[str, torch.Tensor]
    wire: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """Logits (P, 4, 256, 256) and predicted IoU (P, 4), float32."""

    masks: NDArray[np.float32]
    scores: NDArray[np.float32]


def sample_images(seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Make two frames with edges, gradients and noise.

    Returns:
        image (2, 1024, 1024, 3) uint8 and input_size (2, 2) int32.
    """
    rng = np.random.default_rng(seed)
    images = np.zeros((len(SIZES), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE].astype(np.float32)
    for image, (height, width) in zip(images, SIZES, strict=True):
        scene = (x[..., None] * rng.uniform(0, 0.2, 3) + rng.uniform(0, 60, 3)).astype(np.float32)
        for _ in range(12):
            center, radius = rng.uniform(0, IMAGE_SIZE, 2), rng.uniform(30, 250)
            disc = (x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2
            scene[disc] = rng.uniform(0, 255, 3)
        scene += rng.normal(0, 6, scene.shape)
        image[:height, :width] = np.clip(scene, 0, 255)[:height, :width]
    return images, np.array(SIZES, np.int32)


def all_prompts(seed: int = 0) -> list[Prompts]:
    """Make prompts of every kind: clicks, mixed labels, boxes, boxes with clicks, masks."""
    rng = np.random.default_rng(seed)

    def points(*shape: int) -> NDArray[np.float32]:
        return rng.uniform(20, 660, (*shape, 2)).astype(np.float32)

    def boxes(count: int) -> NDArray[np.float32]:
        corners = np.sort(rng.uniform(20, 660, (count, 2, 2)), axis=1)
        return corners.reshape(count, 4).astype(np.float32)

    def labels(*shape: int) -> NDArray[np.int32]:
        return rng.integers(BACKGROUND, FOREGROUND + 1, shape).astype(np.int32)

    blob = np.hypot(*(np.mgrid[:LOW_RES_SIZE, :LOW_RES_SIZE] - 90.0)) - 50
    mask = (-blob / 6).clip(-12, 12).astype(np.float32)
    return [
        make_prompts("click", points(1, 1), np.full((1, 1), FOREGROUND, np.int32)),
        make_prompts("clicks", points(3, 3), labels(3, 3)),
        make_prompts("box", box=boxes(1)),
        make_prompts("boxes and clicks", points(2, 2), labels(2, 2), boxes(2)),
        make_prompts("click and mask", points(1, 1), labels(1, 1), mask=mask),
    ]


def make_prompts(
    name: str,
    points: NDArray[np.float32] | None = None,
    labels: NDArray[np.int32] | None = None,
    box: NDArray[np.float32] | None = None,
    mask: NDArray[np.float32] | None = None,
    absent: int = 1,
) -> Prompts:
    """Bring prompts for one image into both forms.

    Args:
        name: for reports.
        points: (P, N, 2), (x, y) in the 1024 frame.
        labels: (P, N), 1 or 0.
        box: (P, 4), XYXY in the 1024 frame.
        mask: (256, 256) logits.
        absent: how many absent points the wire form gets, which must change nothing.
    """
    arguments: dict[str, torch.Tensor] = {}
    coords, wire_labels = [], []
    count = len(points) if points is not None else len(box) if box is not None else 1
    if points is not None and labels is not None:
        arguments["input_points"] = torch.from_numpy(points)[None]
        arguments["input_labels"] = torch.from_numpy(labels)[None]
        coords.append(points)
        wire_labels.append(labels)
        if box is None:
            coords.append(np.zeros((count, 1, 2), np.float32))
            wire_labels.append(np.full((count, 1), NOT_A_POINT, np.int32))
    if box is not None:
        arguments["input_boxes"] = torch.from_numpy(box)[None]
        coords.append(box.reshape(count, 2, 2))
        wire_labels.append(
            np.tile(np.array([BOX_TOP_LEFT, BOX_BOTTOM_RIGHT], np.int32), (count, 1))
        )
    if mask is not None:
        arguments["input_masks"] = torch.from_numpy(mask)[None, None]
    coords.append(np.full((count, absent, 2), 77, np.float32))
    wire_labels.append(np.full((count, absent), ABSENT, np.int32))
    given = np.zeros((LOW_RES_SIZE, LOW_RES_SIZE), np.float32) if mask is None else mask
    wire = {
        "point_coords": np.concatenate(coords, axis=1)[None],
        "point_labels": np.concatenate(wire_labels, axis=1)[None],
        "mask_input": given[None, None],
        "has_mask_input": np.full((1, 1), float(mask is not None), np.float32),
    }
    return Prompts(name, arguments, wire)


def embed(
    model: SamModel, image: NDArray[np.uint8], input_size: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Embed frames (B, 1024, 1024, 3) as `SamModel` does: (B, 256, 64, 64) float32."""
    mean, deviation = np.array((PIXEL_MEAN, PIXEL_STD), np.float32)
    pixels = (image.astype(np.float32) - mean) / deviation
    for row, (height, width) in zip(pixels, input_size, strict=True):
        row[height:] = 0  # SAM pads after it normalizes
        row[:, width:] = 0
    outputs = [
        model.get_image_embeddings(torch.from_numpy(row.transpose(2, 0, 1).copy())[None])
        for row in pixels
    ]
    return torch.cat(outputs).numpy()


def decode(model: SamModel, embeddings: NDArray[np.float32], prompts: Prompts) -> Answer:
    """Decode prompts as `SamModel` does, for one embedding (256, 64, 64)."""
    image_embeddings = torch.from_numpy(embeddings)[None]
    outputs = []
    with torch.inference_mode():
        for multimask in (False, True):
            outputs.append(
                model(
                    image_embeddings=image_embeddings,
                    multimask_output=multimask,
                    **prompts.arguments,
                )
            )
    masks = torch.cat([output.pred_masks[0] for output in outputs], dim=1)
    scores = torch.cat([output.iou_scores[0] for output in outputs], dim=1)
    return Answer(masks.numpy(), scores.numpy())
