"""The client's results, images and predictions: values that are safe to keep and to share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import ID_IMAGE_KEY
from slimsam_client.encodings import Rle, to_rle
from slimsam_client.errors import MaskError

IMAGE_KEY_DIGITS: Final = ID_IMAGE_KEY.stop - ID_IMAGE_KEY.start

MaskKind = Literal["all", "best", "rle"] | None
"""This says what is kept of each prompt's masks; see `SlimSam.predict`."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """An encoded image: pass it to `predict` as often as you like; it can be pickled.

    Attributes:
        image_embeddings: (256, 64, 64) float16, read-only.
        original_size: (height, width) of the image.
        input_size: (height, width) of the image in the 1024 frame.
        digest: the digest of the checkpoint that encoded it; None where the server does not say.
    """

    image_embeddings: NDArray[np.float16]
    original_size: tuple[int, int]
    input_size: tuple[int, int]
    digest: str | None = None


def image_key(content: bytes) -> str:
    """Give what all requests on an encoded image have in common, whatever checkpoint is served.

    It is `ID_IMAGE_KEY` of the image's id: the first 16 digits of the SHA-256 of its bytes.
    """
    return hashlib.sha256(content).hexdigest()[:IMAGE_KEY_DIGITS]


@dataclass(eq=False)
class UploadedImage:
    """An image that the server keeps: pass it to `predict` as often as you like; can be pickled.

    Attributes:
        image_id: the id by which the server finds it, 64 hexadecimal digits; another one once the
            server has changed its checkpoint.
        content: the encoded image that was sent. It is sent again when the server keeps the image
            no longer.
        original_size: (height, width) of the image.
        is_reduced: whether `content` is the image reduced to the 1024 frame, because it was above
            the server's limits.
    """

    image_id: str
    content: bytes = field(repr=False)
    original_size: tuple[int, int]
    is_reduced: bool = False

    @cached_property
    def key(self) -> str:
        """A hash of `content`, by which proxies send all requests on the image to one server."""
        return image_key(self.content)


class Prediction:
    """Masks for one prompt, or, with a leading axis P everywhere, for P prompts; P may be 0.

    M masks are kept of each prompt: 3, or 1 without multimask_output, or 1, the best, with
    `masks="best"` and `masks="rle"`.

    Args:
        masks: (M, H, W) or (P, M, H, W) bool; None if none were kept.
        scores: (M,) or (P, M) float32.
        low_res_logits: (M, 256, 256) or (P, M, 256, 256) float32; None if the server kept them.
        rles: the RLE of the best mask of each prompt, if these were kept in place of masks.
        mask_ids: (M,) or (P, M) of str, if the server keeps the masks.
    """

    def __init__(
        self,
        masks: NDArray[np.bool_] | None,
        scores: NDArray[np.float32],
        low_res_logits: NDArray[np.float32] | None,
        rles: Sequence[Rle] | None = None,
        mask_ids: NDArray[np.object_] | None = None,
    ) -> None:
        self._masks = masks
        self._rles = rles
        self._scores = scores
        self._low_res_logits = low_res_logits
        self._mask_ids = mask_ids

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks, (M, H, W) or (P, M, H, W) bool, in the original image's pixels.

        Raises:
            MaskError: the call was made with `masks="rle"` or `masks=None`, which keep none.
        """
        if self._masks is None:
            raise MaskError(
                'masks: expected a prediction made with masks="all" or masks="best", got one made '
                f"with masks={None if self._rles is None else 'rle'!r}; "
                "ask for them in the call to predict or segment"
            )
        return self._masks

    @property
    def has_masks(self) -> bool:
        """Whether `masks` were kept."""
        return self._masks is not None

    @property
    def scores(self) -> NDArray[np.float32]:
        """The model's own estimate of each mask's IoU, (M,) or (P, M) float32."""
        return self._scores

    @property
    def low_res_logits(self) -> NDArray[np.float32]:
        """The masks before they were scaled, (M, 256, 256) or (P, M, 256, 256) float32.

        Raises:
            MaskError: the server kept them, of an uploaded image; `masks=None` brings them.
        """
        if self._low_res_logits is None:
            raise MaskError(
                "low_res_logits: expected a prediction that has them, got one of an uploaded "
                "image, whose masks the server keeps; to refine one, give one of mask_ids as "
                "mask_input, or ask with masks=None, which brings the logits"
            )
        return self._low_res_logits

    @property
    def mask_ids(self) -> NDArray[np.object_]:
        """The ids by which the server keeps the masks of an uploaded image, (M,) or (P, M) of str.

        Each can be the mask_input of a call that refines this mask.

        Raises:
            MaskError: the prediction is of an embedding, to be refined by `low_res_logits`, or was
                made with `keep_masks=False`.
        """
        if self._mask_ids is None:
            raise MaskError(
                "mask_ids: expected a prediction of an uploaded image, got one of an embedding or "
                "with keep_masks=False, whose masks no server keeps; give best_logits as "
                "mask_input, or ask with keep_masks=True"
            )
        return self._mask_ids

    @property
    def best(self) -> Any:
        """Index of the highest score: a numpy.int64, or (P,) int64."""
        return self.scores.argmax(axis=-1)

    @property
    def best_scores(self) -> Any:
        """The highest scores: a numpy.float32, or (P,) float32."""
        return self.scores.max(axis=-1)

    @property
    def best_masks(self) -> NDArray[np.bool_]:
        """The masks of the highest scores: (H, W), or (P, H, W).

        Raises:
            MaskError: as `masks`.
        """
        return self._of_best(self.masks)

    @property
    def best_logits(self) -> NDArray[np.float32]:
        """The low_res_logits of the highest scores: (256, 256), or (P, 256, 256).

        Those of one prompt are the mask_input of a call that refines its mask.

        Raises:
            MaskError: as `low_res_logits`.
        """
        return self._of_best(self.low_res_logits)

    @property
    def best_mask_ids(self) -> Any:
        """The mask_ids of the highest scores: a str, or (P,) of str.

        That of one prompt is the mask_input of a call that refines its mask.

        Raises:
            MaskError: as `mask_ids`.
        """
        index = np.asarray(self.best)[..., None]
        found = np.take_along_axis(self.mask_ids, index, axis=-1).squeeze(-1)
        return found if found.ndim else found.item()

    @property
    def rles(self) -> list[Rle]:
        """COCO's compressed RLE of the best mask of each prompt, one for one prompt too.

        Raises:
            MaskError: the call was made with `masks=None`.
        """
        if self._rles is not None:
            return list(self._rles)
        best = self.best_masks
        return [to_rle(mask) for mask in (best if best.ndim == 3 else [best])]

    def _of_best(self, values: NDArray[Any]) -> NDArray[Any]:
        """Take what belongs to the highest scores along the axis M of (..., M, height, width)."""
        index = np.asarray(self.best)[..., None, None, None]
        return np.take_along_axis(values, index, axis=-3).squeeze(-3)
