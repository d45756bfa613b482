"""The contract: what the build, the model repository, the server and the client agree on.

This module is pure data. The build exports graphs with these signatures, a test compares the
`config.pbtxt` files with it, and the client checks a server against it. Batch axes are Triton's and
not written in `dims`; -1 is an axis whose size a request chooses: P prompts (objects) per image, N
points per prompt.

Names and geometry are those of Segment Anything (arXiv 2304.02643) and of its code,
facebookresearch/segment-anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
"""Arrays are tensors by their names, without a batch axis."""

IMAGE_SIZE: Final = 1024
"""The encoder's square frame has this side, in pixels."""
PATCH_SIZE: Final = 16
EMBEDDING_CHANNELS: Final = 256
EMBEDDING_SIZE: Final = 64
"""The embedding grid has this side: IMAGE_SIZE / PATCH_SIZE."""
LOW_RES_SIZE: Final = 256
"""The low-resolution mask logits have this side."""
NUM_MASKS: Final = 4
"""The decoder gives so many masks per prompt: index 0 is the single-mask output, 1 to 3 are the
multimask outputs."""
MASK_THRESHOLD: Final = 0.0
"""A logit above this is foreground."""

PIXEL_MEAN: Final = (123.675, 116.28, 103.53)
"""The encoder graph subtracts this RGB mean, in 0..255 (ImageNet's, as in SAM)."""
PIXEL_STD: Final = (58.395, 57.12, 57.375)
"""The encoder graph divides by this RGB standard deviation, in 0..255."""

FOREGROUND: Final = 1
BACKGROUND: Final = 0
BOX_TOP_LEFT: Final = 2
BOX_BOTTOM_RIGHT: Final = 3
NOT_A_POINT: Final = -1
"""SAM's own padding point has this label; one is added to a prompt without a box, and does change
the answer."""
ABSENT: Final = -2
"""Padding has this label; the decoder masks it out of every attention, so it changes no answer."""
POINT_LABELS: Final = (ABSENT, NOT_A_POINT, BACKGROUND, FOREGROUND, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT)

MAX_PROMPTS: Final = 16
"""This is the largest P of one request, whose time and memory grow with it; the client splits
longer lists."""
MAX_POINTS: Final = 64
"""This is the largest N of one request, SAM's padding point and box corners included."""
LIMITS: Final = {"prompts": MAX_PROMPTS, "points": MAX_POINTS}
"""These limits of the decoder are what slimsam_info says of them."""
POINT_BUCKETS: Final = (2, 4, 8, 16, 32, 64)
"""The client pads N to one of these sizes, so that different users' prompts share a batch."""

MAX_MASK_PIXELS: Final = 2**26
"""This is the most of P x H x W, and of K x H x W, in one request to slimsam_masks, which scales P
prompts' masks to H x W pixels and brings K of them out."""
MAX_MASK_SIDE: Final = 2**13
"""This is the largest H or W there."""
MASK_MULTIPLE: Final = 8
"""H and W there are multiples of this: a byte has the bits of so many pixels."""

CONTINUED_PRIORITY: Final = 1
"""Requests of many prompts ask for this one if the server has worked for the same user before them:
what has been begun is finished before more is begun. Others have Triton's default, the last one."""

ID_PATTERN: Final = "^[0-9a-f]{64}$"
"""The server's ids of pictures and masks look so, as a regular expression."""


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
    """This says whether tensors have a batch axis in front."""


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
"""The encoder turns an image into its embedding. `input_size` is (height, width) of the valid,
top-left part of `image`."""
DECODER: Final = ModelSpec("slimsam_decoder", (_EMBEDDINGS, *_PROMPTS), _MASKS)
"""The decoder turns an embedding and prompts into mask logits; `point_coords` are (x, y) in the
1024 frame."""
BULK_DECODER: Final = replace(DECODER, name="slimsam_decoder_bulk")
"""The same decoder once more, for many prompts on one image, with instances and a queue of its own:
one prompt, for which somebody waits, goes to the other, and never waits for these."""
ENSEMBLE: Final = ModelSpec("slimsam", (_IMAGE, _INPUT_SIZE, *_PROMPTS), _MASKS)
"""The ensemble runs encoder and decoder in one request."""
MODELS: Final = (ENCODER, DECODER, BULK_DECODER, ENSEMBLE)

_TO_PIXELS = (
    TensorSpec("row_weights", "FP32", (-1, LOW_RES_SIZE)),
    TensorSpec("column_weights", "FP32", (-1, LOW_RES_SIZE)),
    TensorSpec("stability_offset", "FP32", (1,)),
    TensorSpec("chosen", "INT32", (-1,)),
)
_MEASURES = (
    TensorSpec("stability_score", "FP32", (-1, NUM_MASKS - 1)),
    TensorSpec("boxes", "INT32", (-1, NUM_MASKS - 1, 4)),
    TensorSpec("areas", "INT32", (-1, NUM_MASKS - 1)),
    TensorSpec("bits", "UINT8", (-1, -1, -1)),
)
MASKS: Final = ModelSpec("slimsam_masks", (_MASKS[0], *_TO_PIXELS), _MEASURES)
"""This model measures the three multimask outputs of each prompt at the picture's size, and brings
those out as bits that are `chosen`, by 3 * prompt + mask. The weights are the matrices of both
resizes, (H, 256) and (W, 256), with rows of zeros up to a multiple of 8. Boxes are x0, y0, x1, y1,
the first and last pixels; `bits` is (K, H, W / 8), the first pixel in the highest bit."""
DECODED_MASKS: Final = ModelSpec(
    "slimsam_decoder_masks", (*DECODER.inputs, *_TO_PIXELS), (_MASKS[1], *_MEASURES)
)
"""The ensemble runs the decoder for many prompts and slimsam_masks in one request, so that the
logits stay where they are made. A server may serve the others without these two."""

AUTOMATIC: Final = ModelSpec(
    "slimsam_automatic",
    (
        TensorSpec("image_bytes", "BYTES", (1,)),
        TensorSpec("settings", "BYTES", (1,), optional=True),
        TensorSpec("original_size", "INT32", (2,), optional=True),
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
"""This model runs everything mode on the server. It takes `image_bytes`, an encoded picture,
`settings` as a JSON object, and of a picture that was made smaller its `original_size`, as
slimsam_image does; no input has a free dimension, which Triton's Python backend would trust before
the model sees it. It gives records: boxes and crop boxes are x, y, width, height in
pixels, and masks are the counts of COCO's compressed RLE. A server may serve the others without
it."""

IMAGE: Final = ModelSpec(
    "slimsam_image",
    (
        TensorSpec("image_bytes", "BYTES", (1,)),
        TensorSpec("original_size", "INT32", (2,), optional=True),
    ),
    (TensorSpec("image_id", "BYTES", (1,)), TensorSpec("original_size", "INT32", (2,))),
    batched=False,
)
"""This model encodes a picture and keeps it, and gives the id by which it is kept. A picture that
was made smaller comes with its `original_size`, (height, width), which its masks will have."""
CLICK: Final = ModelSpec(
    "slimsam_click",
    (
        TensorSpec("image_id", "BYTES", (1,)),
        TensorSpec("prompt", "BYTES", (1,)),
        TensorSpec("mask_input", "FP32", (1, LOW_RES_SIZE, LOW_RES_SIZE), optional=True),
    ),
    (
        TensorSpec("masks", "BYTES", (-1, -1)),
        TensorSpec("scores", "FP32", (-1, -1)),
        TensorSpec("boxes", "INT32", (-1, -1, 4)),
        TensorSpec("areas", "INT64", (-1, -1)),
        TensorSpec("mask_ids", "BYTES", (-1, -1)),
    ),
)
"""This model answers a prompt, a JSON object in pixels, on a picture that is kept: P objects with M
masks each. A mask that is refined is named in the prompt, or its logits are `mask_input`. No input
of the two models has a free dimension. A server may serve the others without them."""
NOT_KEPT: Final = "not kept here: "
"""A message that begins so says that a picture has to be sent again, or a mask's prompt."""
ID_IMAGE_KEY: Final = slice(16, 32)
"""These digits of a picture's id are of its file alone, so that whoever has the id has them."""
IMAGE_KEY_HEADER: Final = "x-image-id"
"""Requests on one picture, its upload included, have the same value of this gRPC metadata, by which
a proxy sends them to one server: here the digits `ID_IMAGE_KEY`. Triton does not look at it."""
TOO_LARGE: Final = "reduce it to 1024 pixels and send its original_size"
"""A message that has this says that a picture is above the server's limits."""

INFO: Final = ModelSpec(
    "slimsam_info",
    (),
    (TensorSpec("info", "BYTES", (1,)), TensorSpec("reference", "BYTES", (1,))),
    batched=False,
)
"""This model says what is served: `info` is a JSON object, and `reference` the build's reference
answer, an npz file. A server may serve the others without it."""

OF_CHECKPOINT: Final = (ENCODER, DECODER, BULK_DECODER)
"""These models have artifacts of a checkpoint, the two decoders the same, and their version says
which one it is: an embedding of one means nothing to the decoder of another."""
ANY_VERSION: Final = "1"
"""All other models have this version, and these, too, where the repository does not say."""


def model_version(digest: str) -> str:
    """Give the version that models of a checkpoint have.

    Triton itself refuses a request for another version, whatever the backend. It takes numbers of
    63 bits; these have 53, which those languages can hold that know no other numbers than doubles.

    Args:
        digest: the checkpoint's; of what is no hexadecimal number, the version says nothing.
    """
    try:
        return str(2**52 + int(digest[:13], 16) % 2**52)
    except ValueError:
        return ANY_VERSION
