"""What is no image, embedding or setting gets a typed error before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slimsam_client import GenerateSettings, ImageError, SettingsError
from slimsam_client.contract import MAX_PROMPTS
from slimsam_client.testing import FakeServer

PIXELS = np.zeros((40, 60, 3), np.uint8)


async def awaited(done: int, total: int) -> None:
    pass


WRONG: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "an array for an embedding": (
        lambda sam: sam.predict(np.zeros((256, 64, 64), np.float16), points=[(1, 1)]),
        ImageError,
        "embedding: expected an Embedding.* got ndarray; call embed or upload first",
    ),
    "a list for everything mode": (
        lambda sam: sam.generate([PIXELS, PIXELS]),
        ImageError,
        "expected one image, got a list; call generate for each",
    ),
    "a mapping for settings": (
        lambda sam: sam.generate(PIXELS, {"points_per_side": 4}),
        SettingsError,
        "settings: expected GenerateSettings, got dict",
    ),
    "an empty mapping for settings": (
        lambda sam: sam.generate(PIXELS, {}),
        SettingsError,
        "got dict",
    ),
    "a text for where everything mode runs": (
        lambda sam: sam.generate(PIXELS, on_server="no"),
        SettingsError,
        "on_server: expected True or False, got 'no'",
    ),
    "progress that cannot be called": (
        lambda sam: sam.generate(PIXELS, progress=True),
        SettingsError,
        "progress: expected a function of .*, got True",
    ),
    "progress that has to be awaited": (
        lambda sam: sam.generate(PIXELS, progress=awaited),
        SettingsError,
        "progress: expected a function .* not awaited, got <function awaited",
    ),
    "a number for an image": (lambda sam: sam.embed(7), ImageError, "a path, bytes.* got int"),
    "the class for settings": (
        lambda sam: sam.generate(PIXELS, GenerateSettings),
        SettingsError,
        "got type",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_mistakes_are_typed_and_not_sent(name: str, connect: Callable[..., Any]) -> None:
    call, kind, message = WRONG[name]
    with FakeServer() as server:
        with pytest.raises(kind, match=message):
            call(connect(server.url))
        assert server.requests == []


@pytest.mark.parametrize("count", [1, 16, 17, 40])
def test_an_image_is_encoded_once_for_any_number_of_prompts(
    count: int, connect: Callable[..., Any]
) -> None:
    points = np.random.default_rng(0).uniform(1, 39, (count, 1, 2))
    with FakeServer() as server:
        sam = connect(server.url)
        answer = sam.segment(PIXELS, points=points)
        assert answer.scores.shape == (count, 3)
        whole, rest = divmod(count, MAX_PROMPTS)
        last = {0: [], 1: ["slimsam_decoder"]}.get(rest, ["slimsam_decoder_bulk"])
        expected = ["slimsam_encoder", *["slimsam_decoder_bulk"] * whole, *last]
        assert [request.model for request in server.requests] == expected
