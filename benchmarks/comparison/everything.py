"""Everything mode with 1024 points, beside transformers' mask-generation pipeline.

The pipeline takes minutes, so it runs on coarser grids of the same picture, and its time is
extrapolated linearly in points; ours run the whole grid. On the coarsest grid all must give the
same masks.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import SamModel

from benchmarks.comparison.agreement import records_differ
from benchmarks.comparison.interleave import Call, in_turn
from benchmarks.comparison.labels import BASELINE
from benchmarks.comparison.scene import Scene
from benchmarks.comparison.sides import Side
from benchmarks.comparison.stages import about, stage_flops
from slimsam_client import GenerateSettings
from slimsam_client.everything.crops import point_grid
from slimsam_client.masks.upscale import upscale_logits

POINTS_PER_SIDE: Final = 32
PARTS: Final = (8, 16)
"""Points along a side of the pipeline's grids: 64 and 256 points."""
ROUNDS: Final = 2
SHARE_BY_SCORE: Final = 0.5
"""Of all masks, those that pass the threshold of predicted IoU."""
SHARE_BY_STABILITY: Final = 0.125
"""Of these, those that pass the threshold of stability."""
STABILITY_OFFSET: Final = 0.05
"""In logits: random weights give flat logits, of which SAM's offset of 1 would leave no mask."""


def measure_everything(
    sides: Mapping[str, Side], scene: Scene, model: SamModel, rounds: int
) -> dict[str, Any]:
    """Compare and time the pipeline and ours.

    Args:
        sides: by name; those without everything mode are left out.
        scene: whose photo is looked at.
        model: whose operations are counted.
        rounds: at most.
    """
    settings, shares = choose_settings(sides[BASELINE], scene)
    able = {name: side.generate for name, side in sides.items() if side.generate is not None}
    coarse, *_ = grids = [dataclasses.replace(settings, points_per_side=side) for side in PARTS]
    masks = {name: _masks(generate(coarse)) for name, generate in able.items()}
    differing = {name: records_differ(masks[BASELINE], found) for name, found in masks.items()}

    pipeline = able.pop(BASELINE)
    calls: dict[str, Call] = {_points(grid): partial(pipeline, grid) for grid in grids}
    found: dict[str, int] = {}
    for name, generate in able.items():
        calls[name] = partial(_count, name, generate, settings, found)
    rounds = min(rounds, ROUNDS)
    seconds = in_turn(calls, rounds)
    by_points = {_points(grid): seconds.pop(_points(grid)) for grid in grids}
    return {
        **about(rounds, stage_flops("everything_1024", model)),
        "compared_with": BASELINE,
        "compared_on_points": int(_points(coarse)),
        "masks_compared": len(masks[BASELINE]),
        "masks": found,
        "settings": json.loads(settings.to_json()),
        "shares": shares,
        "sides": {
            BASELINE: {"differs": None, "times_by_points": by_points},
            **{name: {"differs": differing[name], "times": seconds[name]} for name in able},
        },
    }


def choose_settings(side: Side, scene: Scene) -> tuple[GenerateSettings, dict[str, float]]:
    """Choose thresholds that keep a part of the masks, from the scores on the coarsest grid.

    No box is suppressed: the masks of random weights all reach across the picture, and one would
    be left.

    Returns:
        The settings, and which share of the masks each threshold lets pass there.
    """
    height, width = scene.embedding.original_size
    points = point_grid(PARTS[0], height, width)[:, None].astype(np.float32)
    answer = side.decode(points)
    scores = answer["scores"].ravel()
    by_score = min(max(_threshold(scores, SHARE_BY_SCORE), 0.0), 1.0)
    good = answer["masks"].reshape(-1, *answer["masks"].shape[-2:])[scores > by_score]
    values = upscale_logits(good, scene.embedding.input_size, (height, width))
    stable = np.array(
        [np.sum(mask > STABILITY_OFFSET) / np.sum(mask > -STABILITY_OFFSET) for mask in values]
    )
    by_stability = _threshold(stable, SHARE_BY_STABILITY)
    settings = GenerateSettings(
        points_per_side=POINTS_PER_SIDE,
        pred_iou_thresh=by_score,
        stability_score_thresh=by_stability,
        stability_score_offset=STABILITY_OFFSET,
        box_nms_thresh=1.0,
    )
    shares = {
        "predicted_iou": float(np.mean(scores > by_score)),
        "stability": float(np.mean(stable > by_stability)),
    }
    return settings, shares


def extrapolate(by_points: Mapping[str, Sequence[float]], points: int) -> float:
    """Continue the line through two medians.

    Args:
        by_points: times, by number of points.
        points: where to.

    Returns:
        Seconds.
    """
    (few, start), (many, end) = (
        (int(count), statistics.median(times)) for count, times in by_points.items()
    )
    return start + (end - start) / (many - few) * (points - few)


def _threshold(values: NDArray[np.floating[Any]], share: float) -> float:
    """A value that about this share exceeds, far from any of them: no side's rounding decides."""
    ordered = np.sort(values)
    middle = len(ordered) * (1 - share)
    low, high = int(middle - len(ordered) / 16), int(middle + len(ordered) / 16) + 1
    near = ordered[max(low, 0) : high]
    widest = int(np.argmax(np.diff(near)))
    return float(near[widest : widest + 2].mean())


def _points(settings: GenerateSettings) -> str:
    return str(settings.points_per_side**2)


def _count(
    name: str,
    generate: Callable[[GenerateSettings], list[Any]],
    settings: GenerateSettings,
    found: dict[str, int],
) -> None:
    found[name] = len(generate(settings))


def _masks(found: Sequence[Any]) -> list[NDArray[np.bool_]]:
    """The pipeline gives masks, the client records."""
    return [getattr(item, "segmentation", item) for item in found]
