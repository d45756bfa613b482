"""What tests of the graphs share: models as wide as published ones, with few layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import SamModel

from slimsam_build.random_checkpoint import random_checkpoint

LAYERS = 3
"""Two of windowed attention, and one of global attention: all kinds that there are."""


@pytest.fixture(scope="session")
def shallow() -> Callable[[str], SamModel]:
    """Make a model of a geometry's width, once."""
    models: dict[str, SamModel] = {}

    def of(geometry: str) -> SamModel:
        if geometry not in models:
            model = random_checkpoint(geometry)
            model.vision_encoder.layers = model.vision_encoder.layers[:LAYERS]
            model.config.vision_config.num_hidden_layers = LAYERS
            models[geometry] = model
        return models[geometry]

    return of
