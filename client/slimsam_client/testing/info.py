"""The fake server's slimsam_info: what it says of itself."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import lru_cache
from typing import Final

import numpy as np

from slimsam_client.contract import (
    LIMITS,
    MASK_THRESHOLD,
    Arrays,
)
from slimsam_client.parity.figures import Figures
from slimsam_client.parity.reference import (
    ReferenceAnswer,
    reference_picture,
    reference_prompts,
    sample,
)
from slimsam_client.testing.segmentation import decode, encode

DIGEST: Final = "f" * 64
"""The fake models have this digest, unless a test gives them another."""
BOUNDS: Final = Figures(1e-3, 0.999, 0.98, 1e-2)
"""The bounds are those of fp32."""


def answer_info(digest: str) -> Arrays:
    """Give slimsam_info's outputs."""
    info = {
        "checkpoint": "fake",
        "digest": digest,
        "target": "fake",
        "precision": "fp32",
        "limits": LIMITS,
        "bounds": asdict(BOUNDS),
    }
    return {
        "info": np.array([json.dumps(info).encode()], np.object_),
        "reference": np.array([_reference()], np.object_),
    }


@lru_cache(maxsize=1)
def _reference() -> bytes:
    embedding = encode(*reference_picture())
    masks, scores = decode(embedding, *reference_prompts(), None)
    return ReferenceAnswer(sample(embedding), masks > MASK_THRESHOLD, scores).to_bytes()
