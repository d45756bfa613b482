"""How often a model of a real tritonserver has been asked, by Triton's statistics."""

from __future__ import annotations

import time
from typing import Final

import tritonclient.grpc as triton

COUNTED_SECONDS: Final = 60
"""Within which Triton has counted what it has answered, however busy the machine is."""


def counts(url: str, model: str) -> tuple[int, int]:
    """Give inferences and executions as they are: Triton counts a moment after it has answered."""
    with triton.InferenceServerClient(url) as client:
        found = client.get_inference_statistics(model).model_stats[0]
        return found.inference_count, found.execution_count


def settled_counts(url: str, model: str, least: int = 0) -> tuple[int, int]:
    """Give the same once they stand still, for a server that nobody asks meanwhile.

    Args:
        url: host:port of the server.
        model: its name.
        least: inferences that have been answered, and so will be counted: they are waited for.
    """
    deadline = time.monotonic() + COUNTED_SECONDS
    before = None
    while before != (found := counts(url, model)) or (
        found[0] < least and time.monotonic() < deadline
    ):
        before = found
        time.sleep(0.3)
    return found
