"""What a server says of its models: requests, batches, and where their time went."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import tritonclient.grpc as triton

STAGES: Final = ("queue", "compute_input", "compute_infer", "compute_output")
"""Of a request in a model, in Triton's words."""
PATIENCE_SECONDS: Final = 60
"""Triton counts a request a little after its answer has left."""


@dataclass(frozen=True)
class ModelStatistics:
    """Of one model, since the server's start or between two moments.

    Attributes:
        requests: answered well.
        failures: answered with an error.
        inferences: rows of all batches; 0 for an ensemble.
        executions: batches.
        stages: seconds of all requests together, by `STAGES`.
    """

    requests: int
    failures: int
    inferences: int
    executions: int
    stages: dict[str, float]

    @property
    def batch(self) -> float:
        """The mean number of rows in a batch, or 0."""
        return self.inferences / self.executions if self.executions else 0.0

    def since(self, earlier: ModelStatistics) -> ModelStatistics:
        """What came after an earlier moment."""
        return ModelStatistics(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            self.inferences - earlier.inferences,
            self.executions - earlier.executions,
            {stage: self.stages[stage] - earlier.stages[stage] for stage in STAGES},
        )


Statistics = dict[str, ModelStatistics]
"""By the model's name."""


def read_statistics(client: triton.InferenceServerClient) -> Statistics:
    """Ask a server for the statistics of all its models."""
    answer = client.get_inference_statistics()
    return {model.name: _of_model(model) for model in answer.model_stats}


def read_change(
    client: triton.InferenceServerClient, earlier: Statistics, model: str, requests: int
) -> Statistics:
    """Read what has changed, once a model has counted so many requests and all counts stand still.

    Returns:
        The models that had requests. The one waited for may have counted fewer, or more.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    before: Statistics = {}
    while True:
        change = {
            name: statistics.since(earlier[name])
            for name, statistics in read_statistics(client).items()
        }
        # A model that another has asked may count after it.
        counted = change[model].requests >= requests and change == before
        if counted or time.monotonic() > deadline:
            return {name: found for name, found in change.items() if found.requests}
        before = change
        time.sleep(0.1)


def _of_model(model: Any) -> ModelStatistics:
    stats = model.inference_stats
    return ModelStatistics(
        stats.success.count,
        stats.fail.count,
        model.inference_count,
        model.execution_count,
        {stage: getattr(stats, stage).ns / 1e9 for stage in STAGES},
    )
