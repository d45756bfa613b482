"""Measures a checkpoint on held-out scenes: `python -m slimsam_build.demo.evaluate --help`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import SamModel

from slimsam_build.checkpoints import load_checkpoint
from slimsam_build.demo.samples import HELD_OUT_SEED, bounding_box, inner_point, normalize
from slimsam_build.demo.scenes import draw_scene
from slimsam_client.contract import IMAGE_SIZE


@dataclass(frozen=True)
class Quality:
    """Mean IoU of the best of three masks, over all objects of the scenes."""

    scenes: int
    objects: int
    click: float
    box: float


def evaluate(model: SamModel, scenes: int, first: int = HELD_OUT_SEED) -> Quality:
    """Measure a model on scenes of 1024 pixels that it was not trained on.

    Args:
        model: in float32.
        scenes: how many.
        first: seed of the first.

    Returns:
        What one click at a random inner point, and the exact box, of every object give.
    """
    clicks: list[float] = []
    boxes: list[float] = []
    for seed in range(first, first + scenes):
        scene = draw_scene(seed, IMAGE_SIZE)
        rng = np.random.default_rng([seed, 3])
        points = torch.tensor([[inner_point(rng, mask)] for mask in scene.masks]).float()
        corners = torch.tensor([bounding_box(mask) for mask in scene.masks]).float()
        with torch.inference_mode():
            embeddings = model.get_image_embeddings(normalize(scene.image)[None])
            by_click = model(image_embeddings=embeddings, input_points=points[None])
            by_box = model(image_embeddings=embeddings, input_boxes=corners[None])
        clicks += _best_of_three(by_click.pred_masks[0], scene.masks)
        boxes += _best_of_three(by_box.pred_masks[0], scene.masks)
    return Quality(scenes, len(clicks), float(np.mean(clicks)), float(np.mean(boxes)))


def _best_of_three(logits: torch.Tensor, masks: NDArray[np.bool_]) -> list[float]:
    """Best IoU per object: logits (K, 3, 256, 256) against masks (K, 1024, 1024)."""
    best = []
    for candidates, mask in zip(logits, torch.from_numpy(masks), strict=True):
        found = F.interpolate(candidates[None], (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[0] > 0
        shared, union = (found & mask).sum((1, 2)), (found | mask).sum((1, 2))
        best.append(float((shared / union).max()))
    return best


def main() -> None:
    """Print the quality of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="demo", help="default: %(default)s")
    parser.add_argument("--scenes", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    quality = evaluate(load_checkpoint(options.checkpoint).model, options.scenes)
    print(
        f"{quality.scenes} scenes, {quality.objects} objects: mean IoU of the best of three masks "
        f"{quality.click:.3f} for one click, {quality.box:.3f} for a box"
    )
    if options.json:
        options.json.write_text(json.dumps(asdict(quality), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
