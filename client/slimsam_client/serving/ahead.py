"""Calls that are under way while the answers before theirs are worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from slimsam_client.calls import Call
from slimsam_client.contract import Arrays

UNDER_WAY: Final = 2
"""One batch is decoded while the masks of another are made."""


def answered_ahead(
    calls: Iterable[Call], answer: Callable[[Call], Arrays], under_way: int = UNDER_WAY
) -> Iterator[Arrays]:
    """Answer calls in their order, several at once.

    Args:
        calls: are taken from here when there is room.
        answer: answers one; it is called in other threads.
        under_way: how many may be.

    Yields:
        The answers. At the first error the calls that are under way are waited for, and no further
        one begins.
    """
    waiting: deque[Future[Arrays]] = deque()
    with ThreadPoolExecutor(under_way) as pool:
        for call in calls:
            waiting.append(pool.submit(answer, call))
            if len(waiting) == under_way:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
