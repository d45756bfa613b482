"""What slimsam_info hands out: facts of the artifacts, and `SamModel`'s answer to the reference."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slimsam_build import reference
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.digest import sha256_of
from slimsam_build.repository import REFERENCE_SHA256
from slimsam_build.targets.target import Target
from slimsam_client.contract import (
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    FOREGROUND,
    LIMITS,
    MASK_THRESHOLD,
)
from slimsam_client.parity.reference import (
    ReferenceAnswer,
    reference_picture,
    reference_prompts,
    sample,
)


def write_info(folder: Path, checkpoint: Checkpoint, target: Target, precision: str) -> None:
    """Write TARGET.npz, and TARGET.json with its hash.

    Args:
        folder: where to.
        checkpoint: what the artifacts were made from.
        target: for which runtime.
        precision: in which precision; its bounds are those that a server is held to.
    """
    answer = folder / f"{target.name}.npz"
    answer.write_bytes(expected_answer(checkpoint).to_bytes())
    info = {
        "checkpoint": checkpoint.name,
        "digest": checkpoint.sha256,
        "target": target.name,
        "precision": precision,
        "limits": LIMITS,
        "bounds": asdict(target.bounds[precision]),
        REFERENCE_SHA256: sha256_of(answer),
    }
    (folder / f"{target.name}.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def expected_answer(checkpoint: Checkpoint) -> ReferenceAnswer:
    """Compute what `SamModel` answers, in float32."""
    image, input_size = reference_picture()
    (embedding,) = reference.embed(checkpoint.model, image[None], input_size[None])
    coords, labels = reference_prompts()
    masks, scores = [], []
    for points, point_labels in zip(coords, labels, strict=True):
        answer = reference.decode(checkpoint.model, embedding, _prompt(points, point_labels))
        masks.append(answer.masks[0] > MASK_THRESHOLD)
        scores.append(answer.scores[0])
    return ReferenceAnswer(sample(embedding).astype(np.float16), np.stack(masks), np.stack(scores))


def _prompt(points: NDArray[np.float32], labels: NDArray[np.int32]) -> reference.Prompts:
    """Bring one prompt of the wire into `SamModel`'s own arguments."""
    if BOX_TOP_LEFT in labels:
        corners = [points[labels == corner] for corner in (BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)]
        return reference.make_prompts("box", box=np.concatenate(corners).reshape(1, 4))
    clicks = (labels >= 0) & (labels <= FOREGROUND)
    return reference.make_prompts("clicks", points[clicks][None], labels[clicks][None])
