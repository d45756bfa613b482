"""Writes the raw tensors that model_warmup names: `python tests/contract/write_warmup.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from slimsam_client.contract import FOREGROUND, IMAGE_SIZE, NOT_A_POINT

SHAPES = ((1, 2), (1, 4), (64, 2))
"""(P, N): a click or a box, a few clicks, everything mode."""


def warmup_files() -> dict[str, bytes]:
    """Make the files: path below model_repository/ to content, little-endian and row-major."""
    size = np.array([IMAGE_SIZE, IMAGE_SIZE], "<i4")
    files = {"slimsam_encoder/warmup/input_size": size.tobytes()}
    for prompts, points in SHAPES:
        steps = np.arange(1, prompts * points * 2 + 1, dtype="<f4")
        coords = (steps * (IMAGE_SIZE / (len(steps) + 1))).astype("<f4")
        labels = np.full((prompts, points), FOREGROUND, "<i4")
        labels[:, -1] = NOT_A_POINT  # as the client sends clicks
        shape = f"{prompts}x{points}"
        files[f"slimsam_decoder/warmup/point_coords_{shape}"] = coords.tobytes()
        files[f"slimsam_decoder/warmup/point_labels_{shape}"] = labels.tobytes()
    return files


if __name__ == "__main__":
    for name, content in warmup_files().items():
        (Path(__file__).parents[2] / "model_repository" / name).write_bytes(content)
