"""The contract: what the build, the model repository, the server and the client agree on.

Pure data. The build exports graphs with these signatures, a test compares the `config.pbtxt` files
with it, and the client checks a server against it. Batch axes are Triton's and not written in
`dims`; -1 is an axis that a request chooses: P prompts (objects) per image, N points per prompt.

Names and geometry are those of Segment Anything (arXiv 2304.02643) and its code,
facebookresearch/segment-anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

IMAGE_SIZE: Final = 1024
"""Side of the encoder's square frame, in pixels."""
PATCH_SIZE: Final = 16
EMBEDDING_CHANNELS: Final = 256
EMBEDDING_SIZE: Final = 64
"""Side of the embedding grid: IMAGE_SIZE / PATCH_SIZE."""
LOW_RES_SIZE: Final = 256
"""Side of the low-resolution mask logits."""
NUM_MASKS: Final = 4
"""Masks per prompt: index 0 is the single-mask output, 1 to 3 are the multimask outputs."""
MASK_THRESHOLD: Final = 0.0
"""A logit above this is foreground."""

PIXEL_MEAN: Final = (123.675, 116.28, 103.53)
"""RGB mean, in 0..255, that the encoder graph subtracts (ImageNet's, as in SAM)."""
PIXEL_STD: Final = (58.395, 57.12, 57.375)
"""RGB standard deviation, in 0..255, that the encoder graph divides by."""

FOREGROUND: Final = 1
BACKGROUND: Final = 0
BOX_TOP_LEFT: Final = 2
BOX_BOTTOM_RIGHT: Final = 3
NOT_A_POINT: Final = -1
"""SAM's own padding point: one is added to a prompt without a box. It does change the answer."""
ABSENT: Final = -2
"""Padding that the decoder masks out of every attention, so that it changes no answer."""
POINT_LABELS: Final = (ABSENT, NOT_A_POINT, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)

MAX_PROMPTS: Final = 64
"""Largest P of one request; the client splits longer lists."""
MAX_POINTS: Final = 64
"""Largest N of one request, SAM's padding point and box corners included."""
POINT_BUCKETS: Final = (2, 4, 8, 16, 32, 64)
"""Sizes to which the client pads N, so that different users' prompts share a batch."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of a model: its name, Triton dtype and dims without the batch axis."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """One model of the repository: its name and its tensors, in the order of the graph."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batched: bool = True
    """Whether tensors have a batch axis in front."""


_IMAGE = TensorSpec("image", "UINT8", (IMAGE_SIZE, IMAGE_SIZE, 3))
_INPUT_SIZE = TensorSpec("input_size", "INT32", (2,))
_EMBEDDINGS = TensorSpec(
    "image_embeddings", "FP16", (EMBEDDING_CHANNELS, EMBEDDING_SIZE, EMBEDDING_SIZE)
)
_PROMPTS = (
    TensorSpec("point_coords", "FP32", (-1, -1, 2)),
    TensorSpec("point_labels", "INT32", (-1, -1)),
    TensorSpec("mask_input", "FP32", (1, LOW_RES_SIZE, LOW_RES_SIZE)),
    TensorSpec("has_mask_input", "FP32", (1,)),
)
_MASKS = (
    TensorSpec("low_res_masks", "FP16", (-1, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE)),
    TensorSpec("iou_predictions", "FP32", (-1, NUM_MASKS)),
)

ENCODER: Final = ModelSpec("slimsam_encoder", (_IMAGE, _INPUT_SIZE), (_EMBEDDINGS,))
"""Image to embedding. `input_size` is (height, width) of the valid, top-left part of `image`."""
DECODER: Final = ModelSpec("slimsam_decoder", (_EMBEDDINGS, *_PROMPTS), _MASKS)
"""Embedding and prompts to mask logits; `point_coords` are (x, y) in the 1024 frame."""
ENSEMBLE: Final = ModelSpec("slimsam", (_IMAGE, _INPUT_SIZE, *_PROMPTS), _MASKS)
"""Encoder and decoder in one request."""
MODELS: Final = (ENCODER, DECODER, ENSEMBLE)

AUTOMATIC: Final = ModelSpec(
    "slimsam_automatic",
    (
        TensorSpec("image_bytes", "BYTES", (1,), optional=True),
        TensorSpec("image", "UINT8", (-1, -1, 3), optional=True),
        TensorSpec("settings", "BYTES", (1,), optional=True),
    ),
    (
        TensorSpec("boxes", "FP32", (-1, 4)),
        TensorSpec("areas", "INT64", (-1,)),
        TensorSpec("predicted_iou", "FP32", (-1,)),
        TensorSpec("stability_score", "FP32", (-1,)),
        TensorSpec("point_coords", "FP32", (-1, 2)),
        TensorSpec("crop_boxes", "FP32", (-1, 4)),
        TensorSpec("rles", "BYTES", (-1,)),
        TensorSpec("original_size", "INT32", (2,)),
    ),
    batched=False,
)
"""Everything mode on the server: one of `image_bytes` (an encoded picture) and `image` (RGB), and
`settings` as a JSON object, to records: boxes and crop boxes x, y, width, height in pixels, and
masks as the counts of COCO's compressed RLE. A server may serve the others without it."""
