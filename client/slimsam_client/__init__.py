"""Client SDK of SlimSAM on Triton: points, boxes and masks in, masks out."""

from __future__ import annotations

from importlib.metadata import version

from slimsam_client.client import SlimSam
from slimsam_client.errors import (
    ContractError,
    ImageError,
    InvalidRequestError,
    ModelNotReadyError,
    PromptError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    SlimSamError,
)
from slimsam_client.image import load_image
from slimsam_client.overlay import draw_overlay
from slimsam_client.results import Embedding, Prediction

__version__ = version("slimsam-client")

__all__ = [
    "ContractError",
    "Embedding",
    "ImageError",
    "InvalidRequestError",
    "ModelNotReadyError",
    "Prediction",
    "PromptError",
    "RequestTimeoutError",
    "ServerError",
    "ServerUnavailableError",
    "SlimSam",
    "SlimSamError",
    "__version__",
    "draw_overlay",
    "load_image",
]
