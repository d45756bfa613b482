"""What tests of the graphs share: models as wide as published ones, with few layers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from transformers import SamModel

from slimsam_build.random_checkpoint import GEOMETRIES, random_checkpoint

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


@pytest.fixture(scope="session")
def small() -> SamModel:
    """A layer of windows and a global one, as small as the contract lets an encoder be."""
    settings = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "mlp_dim": 32,
        "global_attn_indexes": [1],
        "window_size": 32,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GEOMETRIES, "small", settings)
        return random_checkpoint("small")
