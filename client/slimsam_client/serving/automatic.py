"""Everything mode inside the server's model, from a request's tensors to its answer's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from slimsam_client.calls import Call, Done, Steps, advance
from slimsam_client.contract import DECODED_MASKS, ENCODER, MASKS, Arrays
from slimsam_client.errors import SettingsError
from slimsam_client.everything.generator import calls_in_graph, generate_records
from slimsam_client.everything.in_graph import Ask
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.quoting import quoted_value
from slimsam_client.serving.limits import ELSEWHERE, Limits, Watch
from slimsam_client.serving.numbers import checked_numbers
from slimsam_client.serving.picture import (
    picture_bytes,
    read_picture,
    size_of_masks,
    stated_size,
)

T = TypeVar("T")

IN_GRAPH: Final = MASKS.name
IN_NUMPY: Final = "numpy"


@dataclass(frozen=True)
class MaskSettings:
    """How the model makes masks of logits; the name is that of config.pbtxt's parameter.

    Attributes:
        masks_by: "slimsam_masks", the graph, or "numpy", in the model's own process.
    """

    masks_by: str = IN_NUMPY

    def __post_init__(self) -> None:
        if self.masks_by not in (IN_GRAPH, IN_NUMPY):
            raise SettingsError(
                f"masks_by: expected {IN_GRAPH} or {IN_NUMPY}, got {quoted_value(self.masks_by)}"
            )


FindEmbedding = Callable[[bytes, tuple[int, int] | None], NDArray[np.float16] | None]
"""Such a function gives the embedding of an encoded picture, (256, 64, 64), where it is kept. A
picture that was reduced comes with the (height, width) that it had before, others with None."""


def answer_request(
    inputs: Arrays,
    limits: Limits,
    watch: Watch,
    find_embedding: FindEmbedding = lambda content, stated: None,
    ask: Ask | None = None,
) -> Steps[Arrays]:
    """Answer a request to the server's model slimsam_automatic.

    Args:
        inputs: the request's tensors.
        limits: what the request may ask for.
        watch: ends the work, between two masks at the latest.
        find_embedding: finds that of a picture which is kept, so that it is not encoded again.
        ask: answers calls of slimsam_decoder_masks; None where NumPy makes the masks.

    Returns:
        The answer's tensors.

    Raises:
        ImageError: there is no image, it cannot be read or used, or is above a limit; or it is not
            what a picture of original_size is when it is reduced to the 1024 frame.
        SettingsError: the settings are no JSON object, one of them is wrong, or they are above a
            limit.
        RequestCancelledError: the watch says so.
        MissingExtraError: min_mask_region_area is given and scipy is not installed.
        ServerError: the encoder or the decoder gave NaN or infinity.
    """
    watch.check()
    settings = limits.within(_read_settings(inputs, limits))
    stated = stated_size(inputs, limits)
    pixels = read_picture(inputs, limits, ELSEWHERE)
    size = size_of_masks(pixels, stated)
    if ask is not None and calls_in_graph(size, settings) > limits.max_calls:
        ask = None  # of a very large picture, the graph takes a few points at once
    checked = None if ask is None else partial(_asked, ask)
    steps = generate_records(pixels, settings, None, watch.check, checked, size)
    embedding = find_embedding(picture_bytes(inputs, limits, ELSEWHERE), stated)
    records = yield from _with_embedding(steps, embedding)
    return to_tensors(records, size)


def _with_embedding(steps: Steps[T], embedding: NDArray[np.float16] | None) -> Steps[T]:
    """Answer the first call of the encoder, which is of the whole picture, if that is possible.

    Raises:
        ServerError: another call got no numbers.
    """
    step = advance(steps, None)
    while not isinstance(step, Done):
        if embedding is not None and step.spec is ENCODER:
            answer, embedding = {"image_embeddings": embedding}, None
        else:
            answer = checked_numbers(step.spec, (yield step))
        step = advance(steps, answer)
    return step.result


def _asked(ask: Ask, calls: Iterable[Call]) -> Iterator[Arrays]:
    """Have `ask` answer calls of slimsam_decoder_masks, and check what it answers."""
    return (checked_numbers(DECODED_MASKS, answer) for answer in ask(calls))


def _read_settings(inputs: Arrays, limits: Limits) -> GenerateSettings:
    if "settings" not in inputs:
        return GenerateSettings()
    content = inputs["settings"][0]
    if len(content) > limits.max_settings_bytes:
        raise SettingsError(
            f"settings: expected at most {limits.max_settings_bytes:,} bytes of JSON (the server's "
            f"max_settings_bytes), got {len(content):,}"
        )
    return GenerateSettings.from_json(content)


def to_tensors(records: Sequence[MaskRecord], original_size: tuple[int, int]) -> Arrays:
    """Turn records into the model's output tensors."""

    def column(name: str, dtype: type, *shape: int) -> NDArray[Any]:
        values = [getattr(record, name) for record in records]
        return np.array(values, dtype).reshape(len(records), *shape)

    return {
        "boxes": column("bbox", np.float32, 4),
        "areas": column("area", np.int64),
        "predicted_iou": column("predicted_iou", np.float32),
        "stability_score": column("stability_score", np.float32),
        "point_coords": column("point_coords", np.float32, 2),
        "crop_boxes": column("crop_box", np.float32, 4),
        "rles": bytes_tensor([record.rle["counts"] for record in records]),
        "original_size": np.array(original_size, np.int32),
    }
