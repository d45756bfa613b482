"""Client SDK of SlimSAM on Triton: points, boxes and masks in, masks out."""

from __future__ import annotations

from importlib.metadata import version

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.client import SlimSam
from slimsam_client.connection import Tls
from slimsam_client.errors import (
    BatchError,
    ContractError,
    ImageError,
    InvalidRequestError,
    MissingExtraError,
    ModelNotReadyError,
    PromptError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SlimSamError,
)
from slimsam_client.everything import GenerateSettings, MaskRecord
from slimsam_client.image import load_image
from slimsam_client.overlay import draw_overlay
from slimsam_client.results import Embedding, Prediction

__version__ = version("slimsam-client")

__all__ = [
    "AsyncSlimSam",
    "BatchError",
    "ContractError",
    "Embedding",
    "GenerateSettings",
    "ImageError",
    "InvalidRequestError",
    "MaskRecord",
    "MissingExtraError",
    "ModelNotReadyError",
    "Prediction",
    "PromptError",
    "RequestCancelledError",
    "RequestTimeoutError",
    "ServerError",
    "ServerUnavailableError",
    "SettingsError",
    "SlimSam",
    "SlimSamError",
    "Tls",
    "__version__",
    "draw_overlay",
    "load_image",
]
