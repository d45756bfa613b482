"""The way from the decoder's answers to a prediction: which masks are kept, and in what form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import LOW_RES_SIZE, NUM_MASKS, Arrays
from slimsam_client.encodings.window import window_to_rle
from slimsam_client.errors import SettingsError
from slimsam_client.masks.upscale import upscale_masks, upscale_window
from slimsam_client.prompts.encode import Prompts
from slimsam_client.quoting import quoted_value
from slimsam_client.results import MaskKind, Prediction

KINDS = (*get_args(get_args(MaskKind)[0]), None)

Chosen = tuple[NDArray[np.float32], NDArray[np.float16]]
"""These are the scores (P, M) and low_res_logits (P, M, 256, 256) of one answer's prompts."""


@dataclass(frozen=True)
class Choice:
    """What the user wants of each prompt's four masks.

    Attributes:
        multimask_output: whether three of them are wanted, or one.
        masks: the form in which they are kept.

    Raises:
        SettingsError: one of them has none of the values that there are.
    """

    multimask_output: bool
    masks: MaskKind

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "multimask_output", as_bool(self.multimask_output, "multimask_output")
        )
        if not isinstance(self.masks, str | None) or self.masks not in KINDS:
            raise SettingsError(
                f"masks: expected {', '.join(map(repr, KINDS[:-1]))} or None, "
                f"got {quoted_value(self.masks)}"
            )

    @property
    def count(self) -> int:
        """M, how many masks are kept of each prompt."""
        return NUM_MASKS - 1 if self.multimask_output and self.masks in ("all", None) else 1


def choose_masks(answer: Arrays, choice: Choice) -> Chosen:
    """Copy what is kept of an answer.

    This is the one place where the tensors' names become the user's: iou_predictions are scores
    and low_res_masks are low_res_logits.
    """
    wanted = slice(1, NUM_MASKS) if choice.multimask_output else slice(0, 1)
    scores, logits = answer["iou_predictions"][:, wanted], answer["low_res_masks"][:, wanted]
    if choice.count < scores.shape[1]:
        prompts, best = np.arange(len(scores)), scores.argmax(axis=1)
        return scores[prompts, best][:, None], logits[prompts, best][:, None]
    return scores.copy(), logits.copy()


def to_prediction(
    chosen: Iterable[Chosen],
    choice: Choice,
    prompts: Prompts,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
) -> Prediction:
    """Join what was chosen of each answer, and scale the masks to the image.

    Beside the result, one mask at a time is in memory.
    """
    no_scores = np.zeros((0, choice.count), np.float32)
    no_logits = np.zeros((0, choice.count, LOW_RES_SIZE, LOW_RES_SIZE), np.float16)
    parts = [(no_scores, no_logits), *chosen]
    scores = np.concatenate([part[0] for part in parts])
    logits = np.concatenate([part[1] for part in parts], dtype=np.float32)
    rles = None
    if choice.masks == "rle":
        windows = (upscale_window(one[0], input_size, original_size) for one in logits)
        rles = [window_to_rle(window, corner, original_size) for corner, window in windows]
    if prompts.single:
        scores, logits = scores[0], logits[0]
    masks = None
    if choice.masks in ("all", "best"):
        masks = upscale_masks(logits, input_size, original_size)
    return Prediction(masks, scores, logits, rles)


def as_bool(value: Any, name: str) -> bool:
    """Give True or False of any type (bool, numpy.bool_, 0 and 1) as a bool.

    Args:
        value: the value.
        name: the argument's name, for the message.

    Raises:
        SettingsError: it is neither.
    """
    if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biu" and value in (0, 1):
        return bool(value)
    raise SettingsError(f"{name}: expected True or False, got {quoted_value(value)}")
