"""The page, the gateway and the real tritonserver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from page_masks import clicked
from running_gateway import serving
from visitor import Visitor

from slimsam_client import SlimSam
from slimsam_gateway import GatewaySettings
from slimsam_server import EmbeddedServer

SCENE = Path(__file__).parents[2] / "examples/scene.png"


def test_clicks_are_those_of_the_sdk(
    demo_server: EmbeddedServer, come: Callable[..., Visitor]
) -> None:
    with (
        serving(GatewaySettings(url=demo_server.grpc_url, timeout=120.0)) as gateway,
        SlimSam(demo_server.grpc_url, timeout=120) as sam,
    ):
        visitor = come(gateway)
        visitor.open(SCENE)
        visitor.click(914, 256)
        visitor.press("n")
        visitor.click(540, 540)
        visitor.click(450, 440, "Alt")
        visitor.click(600, 600)
        expected = [
            clicked(sam, SCENE, ((914, 256), 1)).best_masks,
            clicked(sam, SCENE, ((540, 540), 1), ((450, 440), 0), ((600, 600), 1)).best_masks,
        ]
        assert all(map(np.array_equal, visitor.masks(), expected))
