"""The page, the gateway and the real tritonserver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from clicking import kept_mask_bytes
from page_masks import clicked
from running_gateway import serving
from visitor import Visitor

from benchmarks.page import click, preview
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
        triton.InferenceServerClient(demo_server.grpc_url) as client,
    ):
        visitor = come(gateway)
        visitor.open(SCENE)
        visitor.click(914, 256)
        # What a click would give is shown, and takes no room from what has been clicked.
        kept = kept_mask_bytes(demo_server, client)
        visitor.press("n")
        for x, y in ((540, 540), (450, 440), (600, 600)):
            sent = len(visitor.prompts())
            visitor.page.mouse.move(*visitor.place(x, y))
            visitor.until(lambda sent=sent: len(visitor.prompts()) > sent)  # type: ignore[misc]
            visitor.saw(x, y)
        assert kept_mask_bytes(demo_server, client) == kept > 0
        visitor.click(540, 540)
        visitor.click(450, 440, "Alt")
        visitor.click(600, 600)
        expected = [
            clicked(sam, SCENE, ((914, 256), 1)).best_masks,
            clicked(sam, SCENE, ((540, 540), 1), ((450, 440), 0), ((600, 600), 1)).best_masks,
        ]
        assert all(map(np.array_equal, visitor.masks(), expected))
        visitor.press("n")
        assert preview(visitor.page, 2) > 0
        assert click(visitor.page, 2) > 0
        assert len(visitor.masks()) == len(expected) + 1
