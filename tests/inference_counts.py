"""How often a model of a real tritonserver has been asked, by Triton's statistics."""

from __future__ import annotations

import time

import tritonclient.grpc as triton


def counts(url: str, model: str) -> tuple[int, int]:
    """Give inferences and executions as they are: Triton counts a moment after it has answered."""
    with triton.InferenceServerClient(url) as client:
        found = client.get_inference_statistics(model).model_stats[0]
        return found.inference_count, found.execution_count


def settled_counts(url: str, model: str) -> tuple[int, int]:
    """Give the same once they stand still, for a server that nobody asks meanwhile."""
    before = None
    while before != (found := counts(url, model)):
        before = found
        time.sleep(0.3)
    return found
