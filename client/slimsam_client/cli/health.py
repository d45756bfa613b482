"""`slimsam health`: whether a server answers, by one real inference of each of its models."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from slimsam_client.cli.options import add_connection, add_json, connect
from slimsam_client.cli.status import FAILED, FINE
from slimsam_client.client import SlimSam
from slimsam_client.contract import AUTOMATIC, DECODER, ENCODER, ENSEMBLE
from slimsam_client.errors import (
    ContractError,
    ModelNotReadyError,
    ServerUnavailableError,
    SlimSamError,
)
from slimsam_client.everything import GenerateSettings
from slimsam_client.results import Embedding

IMAGE: Final = np.zeros((64, 64, 3), np.uint8)
POINTS: Final = [(32, 32)]
EMBEDDING: Final = Embedding(np.zeros(ENCODER.outputs[0].dims, np.float16), (64, 64), (1024, 1024))

# Triton 2.51 calls a model ready whose process has died; only an answer proves that it lives. The
# client compares a model's tensors with the contract before it asks.
INFERENCES: Final[dict[str, Callable[[SlimSam], object]]] = {
    ENCODER.name: lambda sam: sam.embed(IMAGE),
    DECODER.name: lambda sam: sam.predict(EMBEDDING, POINTS),
    ENSEMBLE.name: lambda sam: sam.segment(IMAGE, POINTS),
    AUTOMATIC.name: lambda sam: sam.generate(
        IMAGE, GenerateSettings(points_per_side=1), on_server=True
    ),
}
"""What each model is asked."""


@dataclass(frozen=True)
class ModelHealth:
    """What is known of a model.

    Attributes:
        model: its name.
        ready: whether it is served; None if the server did not say.
        contract: whether its tensors are those of the contract; None if the server did not say.
        seconds: that one inference took, transport included; None if there was no answer.
        error: what is wrong; None if nothing is.
    """

    model: str
    ready: bool | None
    contract: bool | None
    seconds: float | None
    error: str | None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_json(parser, "what was found")
    add_connection(parser, timeout=30)


def run(options: argparse.Namespace) -> int:
    """Ask each model, and print what was found."""
    models: list[ModelHealth] = []
    for model in INFERENCES:
        # A client of its own: one that had an answer would wait for a model that is away.
        with connect(options) as sam:
            try:
                models.append(examine(sam, model))
            except ServerUnavailableError as error:
                return _report(options, False, str(error), models)
    return _report(options, True, None, models)


def examine(sam: SlimSam, model: str) -> ModelHealth:
    """Have a model answer once.

    Raises:
        ServerUnavailableError: no server answers.
    """
    start = time.perf_counter()
    try:
        INFERENCES[model](sam)
    except ServerUnavailableError:
        raise
    except ModelNotReadyError as error:
        # A server may do without it; clients run everything mode themselves then.
        missing = None if model == AUTOMATIC.name else str(error)
        return ModelHealth(model, False, None, None, missing)
    except ContractError as error:
        return ModelHealth(model, True, False, None, str(error))
    except SlimSamError as error:
        return ModelHealth(model, None, None, None, str(error))
    return ModelHealth(model, True, True, round(time.perf_counter() - start, 4), None)


def _report(
    options: argparse.Namespace, live: bool, error: str | None, models: list[ModelHealth]
) -> int:
    healthy = live and all(model.error is None for model in models)
    if options.json:
        found = {
            "healthy": healthy,
            "url": options.url,
            "live": live,
            "error": error,
            "models": [dataclasses.asdict(model) for model in models],
        }
        print(json.dumps(found))
    else:
        width = max(map(len, INFERENCES))
        for model in models:
            print(f"{model.model:<{width}}  {_described(model)}")
        print(f"healthy: {options.url}" if healthy else f"unhealthy: {error or options.url}")
    return FINE if healthy else FAILED


def _described(model: ModelHealth) -> str:
    if model.error is not None:
        return f"wrong: {model.error}"
    if not model.ready:
        return "not served, which is fine: clients run everything mode themselves"
    return f"ready, as in the contract, answered in {model.seconds:.3f} s"
