"""Label Studio's brush masks bit by bit: a writer and a reader that no vector has seen."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

SIZES = (3, 4, 8, 16)


def written(mask: NDArray[np.bool_]) -> list[int]:
    """Write a mask as runs of bytes of RGBA."""
    values = [255 * int(inside) for inside in mask.ravel() for _ in range(4)]
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in SIZES)
    for value, group in groupby(values):
        left = len(list(group))
        while left:
            run = min(left, 2**16)
            number = next(index for index, size in enumerate(SIZES) if run <= 2**size)
            bits += f"1{number:02b}{run - 1:0{SIZES[number]}b}{value:08b}"
            left -= run
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def read(stream: list[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a mask of (height, width), whose four channels have to be the same."""
    bits = "".join(f"{byte:08b}" for byte in stream)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        assert place <= len(bits)
        return int(bits[place - count : place], 2)

    total, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    runs: list[NDArray[np.uint8]] = []
    while sum(map(len, runs)) < total:
        is_run = take(1)
        count = take(sizes[take(2)]) + 1
        if is_run:
            runs.append(np.full(count, take(word), np.uint8))
        else:
            runs.append(np.array([take(word) for _ in range(count)], np.uint8))
    assert len(bits) - place < 8 and "1" not in bits[place:]
    channels = np.concatenate(runs).reshape(*size, 4)
    assert (channels == channels[..., :1]).all() and set(np.unique(channels)) <= {0, 255}
    return channels[..., 0] > 0
