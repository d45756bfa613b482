"""Requests of one row, to models whose requests the server batches."""

from __future__ import annotations

from slimsam_client.contract import Arrays
from slimsam_client.errors import InvalidRequestError


def only_row(inputs: Arrays) -> Arrays:
    """Give a request's tensors without their batch axis.

    Raises:
        InvalidRequestError: it has several rows.
    """
    for name, array in inputs.items():
        if len(array) != 1:
            raise InvalidRequestError(
                f"{name}: expected one row, got {len(array)}; send each in a request of its own, "
                "which the server batches"
            )
    return {name: array[0] for name, array in inputs.items()}
