"""Everything mode in the server's model: one call, records as tensors; both sides of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimsam_client.calls import Call, Steps
from slimsam_client.contract import AUTOMATIC, MAX_PROMPTS
from slimsam_client.errors import ImageError
from slimsam_client.everything.generator import generate_records
from slimsam_client.everything.record import MaskRecord
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.image import ImageSource, load_image
from slimsam_client.wire import Arrays


def request_records(image: ImageSource, settings: GenerateSettings) -> Steps[list[MaskRecord]]:
    """Have the server segment everything. Encoded images travel as they are."""
    answer = yield Call(
        AUTOMATIC, {**_image_tensor(image), "settings": _bytes_tensor([settings.to_json()])}
    )
    return from_tensors(answer)


def answer_request(inputs: Arrays, max_points: int = MAX_PROMPTS) -> Steps[Arrays]:
    """Be the server's model.

    Args:
        inputs: of a request.
        max_points: in one call of the decoder; settings may ask for fewer.

    Returns:
        The outputs.

    Raises:
        ImageError: there is not one image, or it cannot be read or used.
        SettingsError: the settings are no JSON object, or one of them is wrong.
        MissingExtraError: min_mask_region_area is given and scipy is not installed.
    """
    if ("image" in inputs) == ("image_bytes" in inputs):
        raise ImageError(
            "expected one of the inputs image_bytes and image, "
            f"got {'both' if 'image' in inputs else 'neither'}"
        )
    pixels = load_image(inputs["image"] if "image" in inputs else inputs["image_bytes"][0])
    given = inputs.get("settings")
    settings = GenerateSettings() if given is None else GenerateSettings.from_json(given[0])
    settings = replace(settings, points_per_batch=min(settings.points_per_batch, max_points))
    records = yield from generate_records(pixels, settings, None)
    return to_tensors(records, (pixels.shape[0], pixels.shape[1]))


def to_tensors(records: Sequence[MaskRecord], original_size: tuple[int, int]) -> Arrays:
    """Bring records into the model's outputs."""

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
        "rles": _bytes_tensor([record.rle["counts"] for record in records]),
        "original_size": np.array(original_size, np.int32),
    }


def from_tensors(arrays: Arrays) -> list[MaskRecord]:
    """Take records from the model's outputs."""
    height, width = arrays["original_size"].tolist()
    columns = (
        arrays["rles"].tolist(),
        arrays["areas"].tolist(),
        arrays["boxes"].tolist(),
        arrays["predicted_iou"].tolist(),
        arrays["stability_score"].tolist(),
        arrays["point_coords"].tolist(),
        arrays["crop_boxes"].tolist(),
    )
    return [
        MaskRecord(
            {"size": [height, width], "counts": counts}, area, tuple(box), iou, stability,
            tuple(point), tuple(crop_box),
        )
        for counts, area, box, iou, stability, point, crop_box in zip(*columns, strict=True)
    ]  # fmt: skip


def _image_tensor(image: ImageSource) -> Arrays:
    encoded = _encoded(image)
    if encoded is None:
        return {"image": load_image(image)}
    return {"image_bytes": _bytes_tensor([encoded])}


def _encoded(image: ImageSource | IO[bytes]) -> bytes | None:
    """The bytes of an encoded image, once it is known to be one; None for pixels."""
    if isinstance(image, np.ndarray | Image.Image):
        return None
    if isinstance(image, str | os.PathLike):
        load_image(image)  # for its errors
        return Path(image).read_bytes()
    if isinstance(image, bytes | bytearray | memoryview):
        load_image(image)
        return bytes(image)
    return None


def _bytes_tensor(values: Sequence[str | bytes]) -> NDArray[np.object_]:
    array = np.empty(len(values), np.object_)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return array
