"""`Predictor`: the interface of segment-anything's `SamPredictor`, over a server."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from slimsam_client.client import SlimSam
from slimsam_client.errors import ImageError, ImageNotSetError, PromptError
from slimsam_client.image.load import ImageSource, load_image, resized_size
from slimsam_client.masks.upscale import upscale_logits, upscale_masks
from slimsam_client.prompts.values import as_numbers
from slimsam_client.results import Embedding, UploadedImage


class Predictor:
    """Keeps one image and segments it by prompts, with `SamPredictor`'s methods and results.

    It holds an image, so give each thread its own; the client below may be shared. Where a service
    keeps many images, `SlimSam.upload` and `SlimSam.predict` do the same without this state.

    Args:
        sam: the client, which the caller has to close.
    """

    def __init__(self, sam: SlimSam) -> None:
        self._sam = sam
        self._image: UploadedImage | Embedding | None = None
        self._embedding: Embedding | None = None

    @property
    def is_image_set(self) -> bool:
        """Whether there is an image to predict on."""
        return self._image is not None

    def set_image(self, image: ImageSource, image_format: Literal["RGB", "BGR"] = "RGB") -> None:
        """Have the server keep an image. If that fails, none is set, not even the one before.

        Args:
            image: (H, W, 3) uint8, or anything else that `SlimSam.embed` takes.
            image_format: the order of an array's channels. "BGR", as OpenCV has it, is for arrays
                alone.

        Raises:
            ImageError: the image cannot be read or used, or the format is not one of these.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        self.reset_image()
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f"image_format: expected RGB or BGR, got {image_format!r}")
        if image_format == "BGR" and not isinstance(image, np.ndarray):
            raise ImageError(
                f"image_format: expected an array with BGR, got {type(image).__name__}; "
                "leave the format out, colors are then read as the image has them"
            )
        if isinstance(image, list | tuple):
            raise ImageError("image: expected one image, got a list; give each a Predictor")
        if image_format == "BGR":
            image = load_image(image)[..., ::-1]
        self._image = self._sam.upload(image)

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
        """Segment the image.

        Args:
            point_coords: (N, 2), (x, y) in pixels of the image, its edges included.
            point_labels: (N,), 1 foreground or 0 background; needed with point_coords.
            box: (4,) or (1, 4), x0, y0, x1, y1 in pixels of the image.
            mask_input: (1, 256, 256), a mask of an earlier answer's third array.
            multimask_output: whether to give three masks, for ambiguous prompts such as one point,
                or one.
            return_logits: whether to give logits in place of masks; above 0 is inside.

        Returns:
            masks (C, H, W) bool, or float32 with return_logits; iou_predictions (C,) float32, the
            model's own estimates; and low_res_masks (C, 256, 256) float32, logits. C is 3, or 1
            without multimask_output.

        Raises:
            ImageNotSetError: there is no image.
            PromptError: a prompt is not of these shapes or values, lies outside, or there is none.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        image = self._required("predict")
        if point_coords is not None and point_labels is None:
            raise PromptError("point_labels: expected one per point, got none; 1 is foreground")
        coords, corners = None, None
        if point_coords is not None:
            coords = as_numbers(point_coords, "point_coords")
            if coords.ndim != 2:
                raise _not_one("point_coords", "(N, 2)", coords)
        if box is not None:
            corners = as_numbers(box, "box")
            if corners.shape not in ((4,), (1, 4)):
                raise _not_one("box", "(4,) or (1, 4)", corners)
            corners = corners.reshape(4)
        found = self._sam.predict(
            image,
            coords,
            point_labels,
            corners,
            mask_input,
            multimask_output,
            masks=None,
            keep_masks=False,  # what is refined here is refined by its logits
        )
        scale = upscale_logits if return_logits else upscale_masks
        size = image.original_size
        masks: NDArray[Any] = scale(found.low_res_logits, resized_size(*size), size)
        return masks, found.scores, found.low_res_logits

    def get_image_embedding(self) -> NDArray[np.float32]:
        """Give the image's embedding, (1, 256, 64, 64) float32, of float16 precision.

        Raises:
            ImageNotSetError: there is no image.
        """
        image = self._required("get_image_embedding")
        if self._embedding is None:  # of an uploaded image the server alone has it
            if isinstance(image, UploadedImage):
                image = self._sam.embed(image.content)
            self._embedding = image
        return self._embedding.image_embeddings[None].astype(np.float32)

    def reset_image(self) -> None:
        """Forget the image."""
        self._image = self._embedding = None

    def _required(self, method: str) -> UploadedImage | Embedding:
        if self._image is None:
            raise ImageNotSetError(f"{method}: expected an image, got none; call set_image first")
        return self._image


def _not_one(name: str, expected: str, got: NDArray[np.float64]) -> PromptError:
    return PromptError(
        f"{name}: expected one prompt, shape {expected}, got {got.shape}; "
        "`SlimSam.predict` takes many at once"
    )
