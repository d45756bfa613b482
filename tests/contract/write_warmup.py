"""Writes the raw tensors that model_warmup names: `python tests/contract/write_warmup.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slimsam_client.contract import (
    BULK_DECODER,
    DECODER,
    FOREGROUND,
    IMAGE_SIZE,
    MAX_PROMPTS,
    NOT_A_POINT,
)

SHAPES = {
    (1, 2): DECODER,
    (1, 4): DECODER,
    (MAX_PROMPTS, 2): BULK_DECODER,
}
"""(P, N): a click or a box, a few clicks, everything mode; each with its model."""


def warmup_files() -> dict[str, bytes]:
    """Make the files: path below model_repository/ to content, little-endian and row-major."""
    size = np.array([IMAGE_SIZE, IMAGE_SIZE], "<i4")
    files = {"slimsam_encoder/warmup/input_size": size.tobytes()}
    for (prompts, points), spec in SHAPES.items():
        steps = np.arange(1, prompts * points * 2 + 1, dtype="<f4")
        coords = (steps * (IMAGE_SIZE / (len(steps) + 1))).astype("<f4")
        labels = np.full((prompts, points), FOREGROUND, "<i4")
        labels[:, -1] = NOT_A_POINT  # as the client sends clicks
        shape = f"{prompts}x{points}"
        files[f"{spec.name}/warmup/point_coords_{shape}"] = coords.tobytes()
        files[f"{spec.name}/warmup/point_labels_{shape}"] = labels.tobytes()
    return files


if __name__ == "__main__":
    for name, content in warmup_files().items():
        (Path(__file__).parents[2] / "model_repository" / name).write_bytes(content)
