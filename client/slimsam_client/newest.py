"""`NewestPrompts`: a stream of prompts of which only the newest answer matters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from slimsam_client.results import Prediction


class NewestPrompts:
    """Prompts that follow each other faster than they are answered, as of a moving mouse.

    One is under way and one waits. A prompt that comes takes the place of the one that waits, whose
    call returns None, and for which nothing has been sent. It is for the tasks of one event loop;
    `AsyncSlimSam.newest` makes it.

    Args:
        predict: what answers a prompt.
    """

    def __init__(self, predict: Callable[..., Awaitable[Prediction]]) -> None:
        self._predict = predict
        self._busy = False
        self._waiting: asyncio.Future[bool] | None = None

    async def predict(self, *prompt: Any, **options: Any) -> Prediction | None:
        """Segment, unless a newer prompt comes before it is this one's turn.

        Args:
            prompt: as for `AsyncSlimSam.predict`, without the image.
            options: likewise.

        Returns:
            The prediction; None if a newer prompt has taken this one's place.

        Raises:
            SlimSamError: as `AsyncSlimSam.predict`; prompts after it are not concerned.
        """
        if self._busy and not await self._its_turn():
            return None
        self._busy = True
        try:
            return await self._predict(*prompt, **options)
        finally:
            self._pass_on()

    async def _its_turn(self) -> bool:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(False)
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting = turn
        try:
            return await turn
        except asyncio.CancelledError:
            if self._waiting is turn:
                self._waiting = None
            elif not turn.cancelled() and turn.result():
                self._pass_on()  # its turn had come just then
            raise

    def _pass_on(self) -> None:
        """Let the prompt that waits be the next; it keeps this place until it runs."""
        turn, self._waiting = self._waiting, None
        if turn is None or turn.done():  # cancelled just now
            self._busy = False
        else:
            turn.set_result(True)
