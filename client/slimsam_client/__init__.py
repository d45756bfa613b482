"""Client SDK of SlimSAM on Triton: points, boxes and masks in, masks out.

A public name is imported when it is first used, so that `slimsam_client.contract`, which is pure
data, can be imported without gRPC and Pillow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from slimsam_client import former_names
from slimsam_client.version import __version__ as __version__

if TYPE_CHECKING:
    from slimsam_client.async_client import AsyncSlimSam as AsyncSlimSam
    from slimsam_client.client import SlimSam as SlimSam
    from slimsam_client.drawing.contact_sheet import contact_sheet as contact_sheet
    from slimsam_client.drawing.overlay import (
        draw_overlay as draw_overlay,
        draw_records as draw_records,
    )
    from slimsam_client.errors import (
        AccessDeniedError as AccessDeniedError,
        BatchError as BatchError,
        ContractError as ContractError,
        ImageError as ImageError,
        ImageNotSetError as ImageNotSetError,
        InvalidRequestError as InvalidRequestError,
        MaskError as MaskError,
        MissingExtraError as MissingExtraError,
        ModelNotReadyError as ModelNotReadyError,
        NotKeptError as NotKeptError,
        PromptError as PromptError,
        RequestCancelledError as RequestCancelledError,
        RequestTimeoutError as RequestTimeoutError,
        ServerBusyError as ServerBusyError,
        ServerError as ServerError,
        ServerUnavailableError as ServerUnavailableError,
        SettingsError as SettingsError,
        SharedMemoryError as SharedMemoryError,
        SlimSamError as SlimSamError,
        StaleEmbeddingError as StaleEmbeddingError,
    )
    from slimsam_client.everything import (
        GenerateSettings as GenerateSettings,
        MaskRecord as MaskRecord,
    )
    from slimsam_client.image.load import load_image as load_image
    from slimsam_client.newest import NewestPrompts as NewestPrompts
    from slimsam_client.parity.model_info import (
        ModelInfo as ModelInfo,
        ServedParity as ServedParity,
    )
    from slimsam_client.predictor import Predictor as Predictor
    from slimsam_client.results import (
        Embedding as Embedding,
        Prediction as Prediction,
        UploadedImage as UploadedImage,
    )
    from slimsam_client.transport.tls import Tls as Tls

_MODULES = {
    "async_client": ("AsyncSlimSam",),
    "client": ("SlimSam",),
    "drawing.contact_sheet": ("contact_sheet",),
    "drawing.overlay": ("draw_overlay", "draw_records"),
    "errors": (
        "AccessDeniedError",
        "BatchError",
        "ContractError",
        "ImageError",
        "ImageNotSetError",
        "InvalidRequestError",
        "MaskError",
        "MissingExtraError",
        "ModelNotReadyError",
        "NotKeptError",
        "PromptError",
        "RequestCancelledError",
        "RequestTimeoutError",
        "ServerBusyError",
        "ServerError",
        "ServerUnavailableError",
        "SettingsError",
        "SharedMemoryError",
        "SlimSamError",
        "StaleEmbeddingError",
    ),
    "everything": ("GenerateSettings", "MaskRecord"),
    "image.load": ("load_image",),
    "parity.model_info": ("ModelInfo", "ServedParity"),
    "predictor": ("Predictor",),
    "newest": ("NewestPrompts",),
    "results": ("Embedding", "Prediction", "UploadedImage"),
    "transport.tls": ("Tls",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_MODULE_OF, "__version__"])

former_names.install()


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
