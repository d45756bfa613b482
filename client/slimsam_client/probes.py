"""The smallest inference of each model: the only proof that it is served, and lives.

Triton calls a model ready whose process has died (2.51), or whose GPU has failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from slimsam_client.calls import Call, Operation
from slimsam_client.clicks.upload import upload
from slimsam_client.client import SlimSam
from slimsam_client.contract import (
    AUTOMATIC,
    BULK_DECODER,
    CLICK,
    DECODER,
    ENCODER,
    ENSEMBLE,
    IMAGE,
    INFO,
)
from slimsam_client.errors import NotKeptError
from slimsam_client.everything import GenerateSettings
from slimsam_client.everything.remote import bytes_tensor
from slimsam_client.operations import segment_in_one_call
from slimsam_client.results import Embedding

PIXELS: Final = np.zeros((8, 8, 3), np.uint8)
POINT: Final = [(4, 4)]
EMBEDDING: Final = Embedding(np.zeros(ENCODER.outputs[0].dims, np.float16), (8, 8), (1024, 1024))

PROBES: Final[dict[str, Callable[[SlimSam, float], object]]] = {
    ENCODER.name: lambda sam, seconds: sam.embed(PIXELS),
    DECODER.name: lambda sam, seconds: sam.predict(EMBEDDING, POINT, masks=None),
    BULK_DECODER.name: lambda sam, seconds: sam.predict(EMBEDDING, [POINT, POINT], masks=None),
    ENSEMBLE.name: lambda sam, seconds: sam._run(segment_in_one_call(PIXELS, POINT)),
    AUTOMATIC.name: lambda sam, seconds: sam.generate(
        PIXELS, GenerateSettings(points_per_side=1), on_server=True, timeout=seconds
    ),
    IMAGE.name: lambda sam, seconds: sam._run(upload(PIXELS)),
    CLICK.name: lambda sam, seconds: sam._run(_click()),
    INFO.name: lambda sam, seconds: sam.model_info(),
}
"""Each model is asked by one of these, with a client and the seconds that are its timeout."""


def probe_model(sam: SlimSam, model: str, seconds: float) -> None:
    """Have a model answer once; an answer that its process has died is not asked for again.

    Args:
        sam: a client of the server, with this timeout.
        model: a key of `PROBES`.
        seconds: the timeout.

    Raises:
        SlimSamError: what came instead of an answer.
    """
    probing = sam.with_options()
    options = replace(probing._options, are_probes=True)
    probing._settings = replace(probing._settings, options=options)
    PROBES[model](probing, seconds)


def _click() -> Operation[None]:
    """Ask about an image that nobody has uploaded: to be told so takes as much of the model."""
    unknown = {"image_id": bytes_tensor(["0" * 64]), "prompt": bytes_tensor(["{}"])}
    with contextlib.suppress(NotKeptError):
        yield Call(CLICK, unknown)
