"""The reference answer: what a checkpoint answers to one picture and a few prompts.

The build computes it by `SamModel` and keeps it beside the artifacts, and slimsam_info serves it.
By it a wrong precision, plan or container is seen from any machine, with the contract alone.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import (
    ABSENT,
    BACKGROUND,
    BOX_BOTTOM_RIGHT,
    BOX_TOP_LEFT,
    DECODER,
    EMBEDDING_CHANNELS,
    EMBEDDING_SIZE,
    ENCODER,
    FOREGROUND,
    IMAGE_SIZE,
    LOW_RES_SIZE,
    MASK_THRESHOLD,
    NOT_A_POINT,
    NUM_MASKS,
)
from slimsam_client.errors import ContractError
from slimsam_client.parity.figures import Figures, compare

STRIDE: Final = 4
"""Each fourth place of the embedding along both sides is kept, with all channels."""
SIZE: Final = (768, 1024)
"""The picture has this (height, width) in the frame."""
PROMPTS: Final = 3
MAX_FILE_BYTES: Final = 1 << 20
"""A larger file is refused; a quarter of this is needed."""


@dataclass(frozen=True, eq=False)
class ReferenceAnswer:
    """What a checkpoint answers.

    Attributes:
        embeddings: (256, 16, 16) float16, each fourth place of the embedding along both sides.
        masks: (3, 4, 256, 256) bool.
        scores: (3, 4) float32, predicted IoU.
    """

    embeddings: NDArray[np.float16]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """Write it as an npz file."""
        file = io.BytesIO()
        np.savez_compressed(
            file,
            embeddings=self.embeddings,
            masks=np.packbits(self.masks, axis=-1),
            scores=self.scores,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> ReferenceAnswer:
        """Read what `to_bytes` wrote.

        Raises:
            ContractError: it is something else.
        """
        side = EMBEDDING_SIZE // STRIDE
        shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
            "embeddings": (np.float16, (EMBEDDING_CHANNELS, side, side)),
            "masks": (np.uint8, (PROMPTS, NUM_MASKS, LOW_RES_SIZE, LOW_RES_SIZE // 8)),
            "scores": (np.float32, (PROMPTS, NUM_MASKS)),
        }
        found = {}
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                # The archive's directory says how large the arrays are, before any is unpacked.
                if sum(entry.file_size for entry in archive.infolist()) > MAX_FILE_BYTES:
                    raise ValueError("too large")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                for name, (dtype, shape) in shapes.items():
                    array = arrays[name]
                    if array.dtype != dtype or array.shape != shape:
                        raise ValueError(f"{name} is {array.dtype} {array.shape}")
                    found[name] = array
        except Exception as error:  # zipfile, zlib and NumPy raise errors of a dozen kinds
            raise ContractError(
                "slimsam_info: expected the reference answer of a build, got something else "
                f"({type(error).__name__}); build the artifacts again"
            ) from error
        masks = np.unpackbits(found["masks"], axis=-1).astype(np.bool_)
        return cls(found["embeddings"], masks, found["scores"])


def reference_picture() -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw the picture: discs over a gradient, with a grain; integers alone, so always the same.

    Returns:
        image (1024, 1024, 3) uint8, and input_size (2,) int32.
    """
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.int64)
    grain = (x * 7 + y * 13 + x * y) % 17
    pixels = np.stack([40 + x // 12 + grain, 60 + y // 10 + grain, 90 + (x + y) // 40 + grain], -1)
    for column, row, radius, color in (
        (300, 260, 150, (210, 60, 50)),
        (700, 420, 210, (50, 160, 70)),
        (650, 380, 80, (240, 220, 60)),
        (180, 600, 90, (60, 80, 220)),
    ):
        inside = (x - column) ** 2 + (y - row) ** 2 < radius**2
        pixels[inside] = np.array(color) + grain[inside, None]
    frame = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    frame[: SIZE[0], : SIZE[1]] = pixels
    return frame, np.array(SIZE, np.int32)


def reference_prompts() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Give the prompts: a click, two clicks, and a box.

    Returns:
        point_coords (3, 4, 2) float32 and point_labels (3, 4) int32.
    """
    coords = np.array(
        [
            [(300, 260), (0, 0), (0, 0), (0, 0)],
            [(700, 540), (650, 380), (0, 0), (0, 0)],
            [(90, 510), (270, 690), (0, 0), (0, 0)],
        ],
        np.float32,
    )
    labels = np.array(
        [
            [FOREGROUND, NOT_A_POINT, ABSENT, ABSENT],
            [FOREGROUND, BACKGROUND, NOT_A_POINT, ABSENT],
            [BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, ABSENT, ABSENT],
        ],
        np.int32,
    )
    return coords, labels


def sample(image_embeddings: NDArray[Any]) -> NDArray[Any]:
    """Take the places that the reference keeps of an embedding (256, 64, 64)."""
    return image_embeddings[:, ::STRIDE, ::STRIDE]


def measure(reference: ReferenceAnswer) -> Steps[Figures]:
    """Have the encoder and the decoder of a server answer, and compare."""
    image, input_size = reference_picture()
    answer = yield Call(ENCODER, {"image": image, "input_size": input_size})
    embeddings = answer["image_embeddings"].copy()
    coords, labels = reference_prompts()
    answer = yield Call(
        DECODER,
        {
            "image_embeddings": embeddings,
            "point_coords": coords,
            "point_labels": labels,
            "mask_input": np.zeros((1, LOW_RES_SIZE, LOW_RES_SIZE), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        },
    )
    return compare(
        (sample(embeddings), reference.embeddings),
        (answer["low_res_masks"] > MASK_THRESHOLD, reference.masks),
        (answer["iou_predictions"], reference.scores),
    )
