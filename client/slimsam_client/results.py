"""What the client returns: values, safe to keep and to share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image: pass it to `predict` as often as you like; it can be pickled.

    Attributes:
        image_embeddings: (256, 64, 64) float16, read-only.
        original_size: (height, width) of the image.
        input_size: (height, width) of the image in the 1024 frame.
    """

    image_embeddings: NDArray[np.float16]
    original_size: tuple[int, int]
    input_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks for one prompt, or, with a leading axis P everywhere, for P prompts.

    Attributes:
        masks: (M, H, W) or (P, M, H, W) bool, in the original image's pixels; M is 3, or 1
            without multimask_output.
        scores: (M,) or (P, M) float32, the model's own estimate of each mask's IoU.
        low_res_logits: (M, 256, 256) or (P, M, 256, 256) float32; one of them is the mask_input
            of a refining call.
    """

    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    low_res_logits: NDArray[np.float32]

    @property
    def best(self) -> NDArray[np.int64]:
        """Index of the highest score: a scalar array, or (P,)."""
        return np.asarray(self.scores.argmax(axis=-1))

    @property
    def best_masks(self) -> NDArray[np.bool_]:
        """The masks of the highest scores: (H, W), or (P, H, W)."""
        index = self.best[..., None, None, None]
        return np.take_along_axis(self.masks, index, axis=-3).squeeze(-3)
