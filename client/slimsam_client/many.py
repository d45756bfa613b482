"""Several images in one call: their operations, and their results or the one error for failures."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Number
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.answers import Choice
from slimsam_client.calls import Operation
from slimsam_client.clicks.upload import upload
from slimsam_client.errors import BatchError, ImageError, PromptError, SettingsError, SlimSamError
from slimsam_client.image.load import Images
from slimsam_client.numeric import as_integer
from slimsam_client.quoting import quoted_value
from slimsam_client.results import Embedding, MaskKind, Prediction, UploadedImage

T = TypeVar("T")


def embed_each(images: Images) -> list[Operation[Embedding]]:
    """Give an operation for each image.

    Raises:
        ImageError: the list holds the numbers of one image.
    """
    return [operations.embed(image) for image in _checked(images)]


def upload_each(images: Images) -> list[Operation[UploadedImage]]:
    """Give an operation for each image.

    Raises:
        ImageError: the list holds the numbers of one image.
    """
    return [upload(image) for image in _checked(images)]


def segment_each(
    images: Images,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    mask_input: ArrayLike | None,
    multimask_output: bool,
    masks: MaskKind,
) -> list[Operation[Prediction]]:
    """Give an operation for each image and its prompts.

    Args:
        images: the images.
        points: a list with an entry for every image, or None, like the next three.
        labels: as `points`.
        box: as `points`.
        mask_input: as `points`.
        multimask_output: the same for all.
        masks: what is kept of each prompt's masks; the same for all.

    Raises:
        ImageError: the list holds the numbers of one image.
        PromptError: a list of prompts is not as long as there are images.
        SettingsError: multimask_output or masks is none of those that there are.
    """
    choice = Choice(multimask_output, masks)  # is checked once, before any image is read
    prompts = _per_image(len(images), points=points, labels=labels, box=box, mask_input=mask_input)
    return [
        operations.segment(
            image, **prompt, multimask_output=choice.multimask_output, masks=choice.masks
        )
        for image, prompt in zip(_checked(images), prompts, strict=True)
    ]


def _checked(images: Images) -> Images:
    if images and all(isinstance(image, list | tuple | Number) for image in images):
        raise ImageError(
            "expected an image or a list of images, got a list of numbers; "
            "make an image of it: numpy.asarray(numbers, numpy.uint8)"
        )
    return images


def _per_image(count: int, **prompts: ArrayLike | None) -> list[dict[str, Any]]:
    for name, values in prompts.items():
        if values is not None and (not isinstance(values, list | tuple) or len(values) != count):
            got = len(values) if isinstance(values, list | tuple) else type(values).__name__
            raise PromptError(
                f"{name}: expected a list with an entry for each of the {count} images, got {got}"
            )
    return [
        {name: None if values is None else values[index] for name, values in prompts.items()}  # type: ignore[index]
        for index in range(count)
    ]


def checked_concurrency(concurrency: int) -> int:
    """Check how many images may be under way at once.

    Raises:
        SettingsError: not an integer of at least 1.
    """
    number = as_integer(concurrency)
    if number is None or number < 1:
        raise SettingsError(
            f"concurrency: expected an integer of at least 1, got {quoted_value(concurrency)}"
        )
    return number


def joined(outcomes: Sequence[T | BaseException]) -> list[T]:
    """Give all results in order, or raise what went wrong.

    Raises:
        BatchError: images failed; it carries the others' results.
    """
    errors: dict[int, SlimSamError] = {}
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, SlimSamError):
            errors[index] = outcome
        elif isinstance(outcome, BaseException):
            raise outcome
    results: list[Any] = [
        None if isinstance(outcome, BaseException) else outcome for outcome in outcomes
    ]
    if errors:
        first = min(errors)
        raise BatchError(errors, results) from errors[first]
    return results
