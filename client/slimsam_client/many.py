"""Several images in one call: their prompts beside them, and one error for those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.calls import Steps
from slimsam_client.errors import BatchError, ImageError, PromptError, SettingsError, SlimSamError
from slimsam_client.image import Images
from slimsam_client.results import Embedding, Prediction

T = TypeVar("T")


def embed_each(images: Images) -> list[Steps[Embedding]]:
    """Give an operation for each image.

    Raises:
        ImageError: the list holds the numbers of one image.
    """
    return [operations.embed(image) for image in _checked(images)]


def segment_each(
    images: Images, multimask_output: bool, **prompts: ArrayLike | None
) -> list[Steps[Prediction]]:
    """Give an operation for each image and its prompts.

    Args:
        images: the images.
        multimask_output: the same for all.
        prompts: for each argument of `segment` a list with an entry for every image, or None.

    Raises:
        ImageError: the list holds the numbers of one image.
        PromptError: a list of prompts is not as long as there are images.
    """
    return [
        operations.segment(image, **prompt, multimask_output=multimask_output)
        for image, prompt in zip(_checked(images), _per_image(len(images), **prompts), strict=True)
    ]


def _checked(images: Images) -> Images:
    if images and all(isinstance(image, list | tuple | int | float) for image in images):
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
    if not isinstance(concurrency, int) or concurrency < 1:
        raise SettingsError(f"concurrency: expected an integer of at least 1, got {concurrency!r}")
    return concurrency


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
