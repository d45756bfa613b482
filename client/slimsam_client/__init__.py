"""Client SDK of SlimSAM on Triton: points, boxes and masks in, masks out."""

from __future__ import annotations

from importlib.metadata import version

from slimsam_client.async_client import AsyncSlimSam
from slimsam_client.client import SlimSam
from slimsam_client.contact_sheet import contact_sheet
from slimsam_client.errors import (
    AccessDeniedError,
    BatchError,
    ContractError,
    ImageError,
    ImageNotSetError,
    InvalidRequestError,
    MaskError,
    MissingExtraError,
    ModelNotReadyError,
    PromptError,
    RequestCancelledError,
    RequestTimeoutError,
    ServerError,
    ServerUnavailableError,
    SettingsError,
    SharedMemoryError,
    SlimSamError,
)
from slimsam_client.everything import GenerateSettings, MaskRecord
from slimsam_client.image import load_image
from slimsam_client.overlay import draw_overlay, draw_records
from slimsam_client.predictor import Predictor
from slimsam_client.results import Embedding, Prediction
from slimsam_client.tls import Tls

__version__ = version("slimsam-client")

__all__ = [
    "AccessDeniedError",
    "AsyncSlimSam",
    "BatchError",
    "ContractError",
    "Embedding",
    "GenerateSettings",
    "ImageError",
    "ImageNotSetError",
    "InvalidRequestError",
    "MaskError",
    "MaskRecord",
    "MissingExtraError",
    "ModelNotReadyError",
    "Prediction",
    "Predictor",
    "PromptError",
    "RequestCancelledError",
    "RequestTimeoutError",
    "ServerError",
    "ServerUnavailableError",
    "SettingsError",
    "SharedMemoryError",
    "SlimSam",
    "SlimSamError",
    "Tls",
    "__version__",
    "contact_sheet",
    "draw_overlay",
    "draw_records",
    "load_image",
]
