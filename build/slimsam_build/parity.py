"""The parity gate: an artifact runs beside `SamModel`, and passes or is refused.

Half precision can fail silently on one machine and not on another (overflow in LayerNorm, fused
kernels), and exporters can be wrong without a word, so every artifact is measured where it is made.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from transformers import SamModel

from slimsam_build import reference
from slimsam_build.errors import ParityError
from slimsam_build.reference import Answer
from slimsam_client.contract import Arrays
from slimsam_client.parity.figures import Figures, largest_difference, mask_overlaps, relative_error

Run = Callable[[Arrays], Arrays]
"""A loaded artifact: inputs by name, with their batch axis, to outputs by name."""

BOUNDS: Final = {
    # Embeddings cross the wire in float16: 2.4e-4 of a value's own size at most.
    "fp32": Figures(1e-3, 0.999, 0.98, 1e-2),
    "fp16": Figures(1e-2, 0.995, 0.97, 2e-2),
    "bf16": Figures(5e-2, 0.95, 0.75, 5e-2),
}


@dataclass(frozen=True)
class Measured:
    """The gate's result: how exact, and how fast (seconds, medians of 3, one image or prompt)."""

    figures: Figures
    encode_seconds: float
    decode_seconds: float


def measure(encoder: Run, decoder: Run, model: SamModel, batches: bool) -> Measured:
    """Run both artifacts beside `SamModel`.

    Args:
        encoder: the encoder artifact.
        decoder: the decoder artifact.
        model: the checkpoint that both should compute.
        batches: whether the artifacts take several rows at once.
    """
    image, input_size = reference.sample_images()
    expected = reference.embed(model, image, input_size)
    inputs: Arrays = {"image": image, "input_size": input_size}
    embeddings = _rows(encoder, inputs, batches)["image_embeddings"]
    error = relative_error(embeddings, expected)
    overlaps: list[float] = []
    score_error = 0.0
    for prompts in reference.all_prompts():
        # End to end: the artifact's own embeddings, all images in one batch where that is possible.
        rows = {name: np.repeat(value, len(image), 0) for name, value in prompts.wire.items()}
        found = _rows(decoder, {"image_embeddings": embeddings, **rows}, batches)
        for row, embedding in enumerate(expected):
            answer = reference.decode(model, embedding, prompts)
            overlaps += _overlaps(found["low_res_masks"][row], answer).tolist()
            difference = largest_difference(found["iou_predictions"][row], answer.scores)
            score_error = max(score_error, difference)
    figures = Figures(error, statistics.fmean(overlaps), min(overlaps), score_error)
    one = {name: value[:1] for name, value in inputs.items()}
    click = {"image_embeddings": embeddings[:1], **reference.all_prompts()[0].wire}
    return Measured(figures, _seconds(encoder, one), _seconds(decoder, click))


def check(figures: Figures, precision: str, bounds: Mapping[str, Figures] = BOUNDS) -> None:
    """Compare figures with the bounds of a precision.

    Args:
        figures: measured.
        precision: "fp32", "fp16" or "bf16".
        bounds: by precision; a target may have its own.

    Raises:
        ParityError: a figure misses its bound; all that do are named.
    """
    if missed := figures.beyond(bounds[precision]):
        raise ParityError(f"parity gate, {precision}: {'; '.join(missed)}")


def _rows(run: Run, inputs: Arrays, batches: bool) -> Arrays:
    """Run a batch at once, or row by row."""
    if batches:
        return run(inputs)
    count = len(next(iter(inputs.values())))
    rows = [run({name: value[i : i + 1] for name, value in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _overlaps(masks: NDArray[np.float16], answer: Answer) -> NDArray[np.float64]:
    """IoU per mask, (P * 4,); 0 where a logit is no number."""
    if not np.isfinite(masks).all():
        return np.zeros(masks.shape[:2]).ravel()
    return mask_overlaps(masks > 0, answer.masks > 0)


def _seconds(run: Run, inputs: Arrays) -> float:
    run(inputs)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
