"""What one request to the server's model of everything mode may cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from slimsam_client.contract import MAX_PROMPTS
from slimsam_client.errors import RequestCancelledError, SettingsError
from slimsam_client.everything.settings import GenerateSettings
from slimsam_client.image.load import MAX_PIXELS
from slimsam_client.serving.parameters import read_parameters

INTERVAL: Final = 0.2
"""Whether the client still waits is asked once in so many seconds: Triton answers by a message."""

ELSEWHERE: Final = "run everything mode in the client (on_server=False)"


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for; the names are those of config.pbtxt's parameters.

    Attributes:
        max_points: points of the grids, in all crops together.
        max_calls: calls of the encoder and the decoder.
        max_points_per_batch: points in one call of the decoder; settings may ask for fewer, and of
            those that ask for more, so many are taken.
        max_seconds: seconds from the start to the answer.
        max_pixels: pixels of the picture.
        max_original_pixels: pixels that a reduced picture had; its masks are made one at a time.
        max_image_bytes: bytes of the encoded picture.
        max_settings_bytes: bytes of the settings' JSON, whose depth they bound, too.
        formats: Pillow's names of the formats that are read; JPEG includes MPO.
    """

    max_points: int = 2**15
    max_calls: int = 2**12
    max_points_per_batch: int = MAX_PROMPTS
    max_seconds: int = 600
    max_pixels: int = 2**26
    max_original_pixels: int = MAX_PIXELS
    max_image_bytes: int = 2**28
    max_settings_bytes: int = 2**12
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Limits:
        """Read the parameters of a model's configuration; those that are missing have defaults.

        Raises:
            SettingsError: one is no number from 1 on, or no list of formats that Pillow reads
                without the help of other programs.
        """
        return read_parameters(cls, parameters)

    def within(self, settings: GenerateSettings) -> GenerateSettings:
        """Give the settings as they are run.

        Raises:
            SettingsError: they ask for more points or calls than the limits.
        """
        batch = min(settings.points_per_request, self.max_points_per_batch)
        points = calls = 0
        for layer in range(settings.crop_n_layers + 1):
            crops, each = 4**layer, settings.side_of_layer(layer) ** 2
            points += crops * each
            calls += crops * (1 + -(-each // batch))
        if points > self.max_points:
            raise SettingsError(
                f"settings: expected at most {self.max_points:,} points in all crops together (the "
                f"server's max_points), got {points:,}; take a smaller points_per_side or "
                f"crop_n_layers, a larger crop_n_points_downscale_factor, or {ELSEWHERE}"
            )
        if calls > self.max_calls:
            raise SettingsError(
                f"settings: expected at most {self.max_calls:,} calls of the encoder and the "
                f"decoder (the server's max_calls), got {calls:,}; take a larger points_per_batch, "
                f"a smaller points_per_side or crop_n_layers, or {ELSEWHERE}"
            )
        return replace(settings, points_per_batch=batch)


class Watch:
    """Ends work that nobody waits for, or that takes too long.

    Args:
        is_cancelled: whether the client waits no more.
        max_seconds: how long the work may take from now on.
        advice: what else to do where that is too short.
    """

    def __init__(
        self,
        is_cancelled: Callable[[], bool],
        max_seconds: float,
        advice: str = f"take fewer points or crops, or {ELSEWHERE}",
    ) -> None:
        self._is_cancelled = is_cancelled
        self._advice = advice
        self._max_seconds = max_seconds
        self._start = time.monotonic()
        self._asked = self._start - INTERVAL

    def restart(self) -> None:
        """Count the seconds from now on: those before went by in a queue."""
        self._start = time.monotonic()

    def check(self) -> None:
        """Be asked between two masks, and between two calls.

        Raises:
            RequestCancelledError: the client waits no more, or the time is over.
        """
        now = time.monotonic()
        if now - self._start > self._max_seconds:
            raise RequestCancelledError(
                f"expected to be done within {self._max_seconds:,} s (the server's max_seconds), "
                f"was not; {self._advice}"
            )
        if now - self._asked >= INTERVAL:
            self._asked = now
            if self._is_cancelled():
                raise RequestCancelledError("cancelled")
