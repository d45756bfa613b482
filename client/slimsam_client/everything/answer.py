"""The answer of a server's model of everything mode, checked and turned into records."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slimsam_client.contract import AUTOMATIC, Arrays
from slimsam_client.encodings import rle_area
from slimsam_client.errors import OTHER_CONTRACT, ContractError, MaskError
from slimsam_client.everything.record import MaskRecord

DTYPES: Final = {"FP32": np.float32, "INT64": np.int64, "INT32": np.int32, "BYTES": np.object_}
"""The outputs have these NumPy types, by Triton's names of them."""


def from_tensors(arrays: Arrays, image_size: tuple[int, int]) -> list[MaskRecord]:
    """Take records from the model's outputs.

    Args:
        arrays: the outputs.
        image_size: (height, width) of the image that was sent.

    Raises:
        ContractError: they are not as the contract has them, or not of this image; the message
            names the tensor.
    """
    _check_shapes(arrays)
    _check_values(arrays, image_size)
    height, width = image_size
    records = []
    for index, counts in enumerate(arrays["rles"].tolist()):
        record = MaskRecord(
            {"size": [height, width], "counts": counts},
            int(arrays["areas"][index]),
            tuple(arrays["boxes"][index].tolist()),
            float(arrays["predicted_iou"][index]),
            float(arrays["stability_score"][index]),
            tuple(arrays["point_coords"][index].tolist()),
            tuple(arrays["crop_boxes"][index].tolist()),
        )
        _check_mask(record, index)
        records.append(record)
    return records


def _check_shapes(arrays: Arrays) -> None:
    """Check that each output has its dtype, its dims, and a row for each of the same K records."""
    count = arrays["rles"].shape[0] if arrays["rles"].ndim else 0
    for tensor in AUTOMATIC.outputs:
        array = arrays[tensor.name]
        shape = tuple(count if dim == -1 else dim for dim in tensor.dims)
        if array.dtype != DTYPES[tensor.dtype] or array.shape != shape:
            raise _broken(
                tensor.name, f"{tensor.dtype} {list(shape)}", f"{array.dtype} {list(array.shape)}"
            )


def _check_values(arrays: Arrays, image_size: tuple[int, int]) -> None:
    """Check that numbers are finite and within the image.

    A mask without pixels has no stability score.
    """
    height, width = image_size
    if arrays["original_size"].tolist() != [height, width]:
        raise _broken(
            "original_size",
            f"{[height, width]}, of the image that was sent",
            str(arrays["original_size"].tolist()),
        )
    if not np.isfinite(arrays["predicted_iou"]).all():
        raise _broken("predicted_iou", "finite numbers", "NaN or infinity")
    if np.isinf(arrays["stability_score"]).any():
        raise _broken("stability_score", "finite numbers or NaN", "infinity")
    points = arrays["point_coords"]
    _check_boxes("boxes", arrays["boxes"], (width - 1, height - 1))  # SAM's: to the last pixel
    _check_boxes("crop_boxes", arrays["crop_boxes"], (width, height))
    _check_boxes(
        "point_coords", np.concatenate([points, np.zeros_like(points)], axis=1), (width, height)
    )


def _check_boxes(name: str, boxes: NDArray[np.float32], end: tuple[int, int]) -> None:
    """Check that boxes (K, 4), as x, y, width, height, lie within 0 and `end`, (x, y)."""
    start, size = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    # Each size is compared with what is left: no infinities are added, and NaN is not inside.
    inside = (start >= 0) & (start <= end) & (size >= 0)
    inside &= size <= end - np.where(inside, start, 0)
    if not inside.all():
        index = int(np.flatnonzero(~inside.all(axis=1))[0])
        raise _broken(
            name, f"numbers within the image, 0 to {end}", f"{boxes[index].tolist()} at {index}"
        )


def _check_mask(record: MaskRecord, index: int) -> None:
    """Check that the mask has as many pixels as the image, and the area that is named."""
    if not isinstance(record.rle["counts"], bytes):
        raise _broken("rles", "BYTES", f"{type(record.rle['counts']).__name__} at {index}")
    try:
        area = rle_area(record.rle)
    except MaskError as error:
        raise _broken("rles", "masks of the image", f"another at {index} ({error})") from error
    if area != record.area:
        raise _broken("areas", f"{area} at {index}, as many pixels as in rles", f"{record.area}")


def _broken(name: str, expected: str, got: str) -> ContractError:
    return ContractError(
        f"{AUTOMATIC.name}: expected the output {name} as {expected}; got {got}; {OTHER_CONTRACT}"
    )
