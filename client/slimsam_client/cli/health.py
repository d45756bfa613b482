"""`slimsam health`: whether a server answers, and in the precision that its build has proved.

It makes one real inference of each model, and compares with the reference answer of slimsam_info.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Final

from slimsam_client.cli.messages import printable
from slimsam_client.cli.options import add_connection, add_json, connect
from slimsam_client.cli.precision import PrecisionHealth, examine_precision
from slimsam_client.cli.status import FAILED, OK
from slimsam_client.client import SlimSam
from slimsam_client.contract import AUTOMATIC, CLICK, ENSEMBLE, IMAGE, MODELS
from slimsam_client.errors import (
    ContractError,
    ModelNotReadyError,
    RequestTimeoutError,
    ServerBusyError,
    ServerUnavailableError,
    SlimSamError,
)
from slimsam_client.probes import probe_model

DISPENSABLE: Final = {
    AUTOMATIC.name: "clients run everything mode themselves",
    IMAGE.name: "clients keep embeddings themselves",
    CLICK.name: "clients keep embeddings themselves",
}
"""What clients do where one of these models is not served."""
READY_SECONDS: Final = 5.0
"""To say that it is ready takes a server no turn in a queue."""
ASKED: Final = (*(model.name for model in MODELS), *DISPENSABLE)
"""These models are asked; slimsam_info is for the precision."""


@dataclass(frozen=True)
class ModelHealth:
    """The health of one model.

    Attributes:
        model: its name.
        ready: whether it is served; None if the server did not say.
        contract: whether its tensors are those of the contract; None if the server did not say.
        seconds: how long one inference took, transport included; None if there was no answer.
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
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"ask {ENSEMBLE.name} alone, by one inference: for a probe that runs all the time",
    )
    parser.add_argument(
        "--allow-busy",
        action="store_true",
        help="a server that has too much to do to answer in time is healthy, too, as long as it "
        "says that it is ready: for probes by which a server is taken out of use",
    )
    add_connection(parser, timeout=30)


def run(options: argparse.Namespace) -> int:
    """Ask each model, and print what was found."""
    models: list[ModelHealth] = []
    for model in (ENSEMBLE.name,) if options.quick else ASKED:
        # Each model has a client of its own: one that had an answer would wait for a missing model.
        with connect(options, SlimSam) as sam:
            try:
                found = examine(sam, model, options.timeout, options.allow_busy)
                models.append(found)
            except ServerUnavailableError as error:
                return _report(options, False, str(error), models)
    if any(model.error for model in models):
        return _report(options, True, None, models, PrecisionHealth(unchecked="a model is wrong"))
    if options.quick:
        return _report(options, True, None, models)
    with connect(options, SlimSam) as sam:
        return _report(options, True, None, models, examine_precision(sam))


def examine(sam: SlimSam, model: str, seconds: float, allow_busy: bool = False) -> ModelHealth:
    """Have a model answer once.

    The client compares the model's tensors with the contract before it asks.

    Args:
        sam: a client of the server, with this timeout.
        model: a key of `PROBES`.
        seconds: the timeout.
        allow_busy: whether a model is well, too, that refuses for its queue is full, or does not
            answer in time beside a server that says that it is ready. A hung one does not: to say
            so takes no turn in a queue.

    Raises:
        ServerUnavailableError: no server answers.
    """
    start = time.perf_counter()
    try:
        probe_model(sam, model, seconds)
    except ServerUnavailableError:
        raise
    except (ServerBusyError, RequestTimeoutError) as error:
        if allow_busy and _is_busy(sam, error):
            return ModelHealth(model, True, None, None, None)
        return ModelHealth(model, None, None, None, str(error))
    except ModelNotReadyError as error:
        missing = None if model in DISPENSABLE else str(error)
        return ModelHealth(model, False, None, None, missing)
    except ContractError as error:
        return ModelHealth(model, True, False, None, str(error))
    except SlimSamError as error:
        return ModelHealth(model, None, None, None, str(error))
    return ModelHealth(model, True, True, round(time.perf_counter() - start, 4), None)


def _is_busy(sam: SlimSam, error: SlimSamError) -> bool:
    """Whether a request failed for load alone: a server that hangs does not say it is ready."""
    return isinstance(error, ServerBusyError) or sam.with_options(timeout=READY_SECONDS).ready()


def _report(
    options: argparse.Namespace,
    live: bool,
    error: str | None,
    models: list[ModelHealth],
    precision: PrecisionHealth | None = None,
) -> int:
    healthy = live and all(model.error is None for model in models)
    healthy = healthy and (precision is None or precision.error is None)
    if options.json:
        found = {
            "healthy": healthy,
            "url": options.url,
            "live": live,
            "error": error,
            "models": [dataclasses.asdict(model) for model in models],
            "precision": precision and precision.as_json(),
        }
        print(json.dumps(found))
    else:
        width = max(map(len, ASKED))
        for model in models:
            print(f"{model.model:<{width}}  {printable(_described(model))}")
        if precision is not None:
            print(f"{'precision':<{width}}  {printable(precision)}")
        said = printable(error or options.url)
        print(f"healthy: {said}" if healthy else f"unhealthy: {said}")
    return OK if healthy else FAILED


def _described(model: ModelHealth) -> str:
    if model.error is not None:
        return f"wrong: {model.error}"
    if not model.ready:
        return f"not served, which is fine: {DISPENSABLE[model.model]}"
    if model.seconds is None:
        return "busy: gave no answer in time, which is allowed"
    return f"ready, as in the contract, answered in {model.seconds:.3f} s"
