"""One point of a load test: a workload at one level, measured."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tritonclient.grpc as triton

from benchmarks.load.corpus import Corpus
from benchmarks.load.perf_analyzer import Latency, LoadError, run_closed, run_open
from benchmarks.server_statistics import STAGES, Statistics, read_change, read_statistics
from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    CLICK,
    DECODER,
    ENCODER,
    ENSEMBLE,
    IMAGE,
)

MODELS: Final = {
    "encoder": ENCODER.name,
    "decoder": DECODER.name,
    "ensemble": ENSEMBLE.name,
    "click": CLICK.name,
    "upload": IMAGE.name,
    "upload_90": IMAGE.name,
    "upload_100": IMAGE.name,
    "everything": AUTOMATIC.name,
}
"""The model that a workload's requests go to."""
IN_PYTHON: Final = (AUTOMATIC.name, CLICK.name, IMAGE.name)
"""These models call the others, so their inference contains that of the others."""
SLOWER: Final = 10
"""A run may take so many times what it is expected to take."""


@dataclass(frozen=True)
class Level:
    """How hard a workload's server is driven.

    Attributes:
        loop: "closed": `value` requests are always under way; or "open": `value` requests per
            second are sent, in a Poisson process.
        value: see loop.
        name: of the level, in file names.
    """

    loop: str
    value: float
    name: str


@dataclass(frozen=True)
class Point:
    """What one run has measured.

    Attributes:
        workload: of `MODELS`.
        level: at which it was driven.
        requests: sent and answered.
        throughput: requests per second.
        latency: of the answers.
        models: the statistics of every model that took part.
    """

    workload: str
    level: Level
    requests: int
    throughput: float
    latency: Latency
    models: Statistics

    def stages_ms(self) -> dict[str, float]:
        """The mean milliseconds of a request by model and stage; the rest is outside of models.

        An ensemble's own figures are its models' sums, and the inference of a model in Python
        contains its calls of the others, so both are left out, and their own work is part of the
        rest.
        """
        parts = {
            f"{name} {stage.removeprefix('compute_')}": 1000
            * self.models[model].stages[stage]
            / self.requests
            for name, model in (
                ("encoder", ENCODER.name),
                ("decoder", DECODER.name),
                ("many prompts", BULK_DECODER.name),
            )
            if model in self.models
            for stage in STAGES
        }
        own = MODELS[self.workload]
        if own in IN_PYTHON:
            waited = self.models[own].stages["queue"]
            parts[f"{self.workload} queue"] = 1000 * waited / self.requests
        parts["rest"] = self.latency.mean - sum(parts.values())
        return parts


def measure(
    url: str, corpus: Corpus, workload: str, level: Level, requests: int, directory: Path,
    expected_rate: float,
) -> Point:  # fmt: skip
    """Send requests that no server has seen, and measure.

    Args:
        url: host:port of the server.
        corpus: where they come from.
        workload: of `MODELS`.
        level: how hard.
        requests: how many.
        directory: for perf_analyzer's CSV.
        expected_rate: requests per second, for a limit of time.

    Raises:
        LoadError: a request failed, or was not answered in time.
    """
    model = MODELS[workload]
    timeout = 120 + SLOWER * requests / expected_rate
    report = directory / f"{workload}-{level.loop}-{level.name}.csv"
    with tempfile.TemporaryDirectory() as name, triton.InferenceServerClient(url) as client:
        path = Path(name) / "corpus.json"
        corpus.write(workload, requests, path)
        before = read_statistics(client)
        if level.loop == "closed":
            concurrency = int(level.value)
            latency = run_closed(url, model, path, requests, concurrency, report, timeout)
            throughput = closed_throughput(concurrency, latency.mean / 1000, requests)
        else:
            latency = run_open(url, model, path, requests, level.value, report, timeout)
            throughput = level.value
        models = read_change(client, before, model, requests)
    answered = models[model].requests if model in models else 0
    if answered < requests:
        raise LoadError(f"{model}: {requests} requests sent, the server counts {answered} answers")
    return Point(workload, level, requests, throughput, latency, models)


def closed_throughput(concurrency: int, mean_seconds: float, requests: int) -> float:
    """Requests per second of a closed loop, from their mean time (Little's law).

    perf_analyzer's own figure divides by whole seconds. The second factor is for the end, when no
    new requests come: the last ones are fewer and fewer under way.
    """
    return concurrency / mean_seconds * (1 - (concurrency - 1) / (2 * requests))
