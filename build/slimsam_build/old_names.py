"""Names that 0.1.0 had in other places; the changelog has what took theirs."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def build(*arguments: Any, **options: Any) -> Any:
    """Build, under the name that `pipeline.build` had in 0.1.0; `say` was its `log`."""
    # By name: pipeline imports PyTorch, and the module that has this name for it.
    pipeline = importlib.import_module("slimsam_build.pipeline")
    warnings.warn(
        "slimsam_build.repository.build has moved to slimsam_build.pipeline.build",
        DeprecationWarning,
        stacklevel=2,
    )
    if "say" in options:
        options["log"] = options.pop("say")
    return pipeline.build(*arguments, **options)
