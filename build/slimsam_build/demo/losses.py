"""SAM's loss (arXiv 2304.02643, appendix A): focal and dice 20 : 1, best mask only, IoU by MSE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_losses(logits: Tensor, target: Tensor) -> Tensor:
    """Focal (x 20) plus dice per mask.

    Args:
        logits: (G, M, h, w).
        target: (G, h, w) in 0..1.

    Returns:
        (G, M)
    """
    target = target[:, None].expand_as(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    probability = logits.sigmoid()
    miss = probability * (1 - target) + (1 - probability) * target
    alpha = 0.25 * target + 0.75 * (1 - target)
    focal = (alpha * miss**2 * cross_entropy).mean((2, 3))
    shared = (probability * target).sum((2, 3))
    dice = 1 - (2 * shared + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    return 20 * focal + dice


def intersection_over_union(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of thresholded logits (G, M, h, w) and targets (G, h, w): (G, M)."""
    mask = logits > 0
    truth = (target > 0.5)[:, None]
    shared = (mask & truth).sum((2, 3))
    return shared / (mask | truth).sum((2, 3)).clamp(min=1)


def prompt_loss(logits: Tensor, scores: Tensor, target: Tensor) -> Tensor:
    """The loss of one round of prompts: best of masks 1 to 3, half of mask 0, predicted IoU.

    Args:
        logits: (G, 4, h, w).
        scores: (G, 4), predicted IoU.
        target: (G, h, w).

    Returns:
        A scalar.
    """
    losses = mask_losses(logits, target)
    multimask = losses[:, 1:]
    # A little for the others keeps a mask from dying before it was ever the best.
    best = 0.95 * multimask.min(dim=1).values + 0.05 * multimask.mean(dim=1)
    with torch.no_grad():
        truth = intersection_over_union(logits, target)
    return (best + 0.5 * losses[:, 0]).mean() + F.mse_loss(scores, truth)
