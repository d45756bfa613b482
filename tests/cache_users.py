"""Processes that use one cache at once, and are killed; a test's other processes.

What is kept under a key is made of the key's number and of a salt, so that whoever gets it can say
whether it is whole, and of this key.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimsam_client.serving.cache.identity import PictureKeys
from slimsam_client.serving.cache.layout import EMBEDDING_SHAPE, LOGITS_SHAPE, CacheSizes
from slimsam_client.serving.cache.pictures import KeptPicture, PictureCache

SIZES = CacheSizes(pictures=3, masks=4)
NUMBERS = range(9)


KEYS = PictureKeys("a model")


def key_of(number: int) -> bytes:
    """Give the key of a picture of the one model that is served, as all of them are."""
    return KEYS.key_of(b"%d" % number)


@functools.lru_cache(maxsize=16)
def values_of(number: int, salt: int, shape: tuple[int, ...]) -> NDArray[np.float16]:
    count = int(np.prod(shape))
    words = np.arange(count, dtype=np.uint32) * 31 + number * 7919
    words[::1000] = salt
    return words.astype(np.uint16).view(np.float16).reshape(shape)


def picture_of(number: int, salt: int) -> KeptPicture:
    size = (100 + number, salt)
    return KeptPicture(values_of(number, salt, EMBEDDING_SHAPE), size, (1024, 7))


def check(number: int, kept: KeptPicture | None) -> bool:
    """Whether there was something; wrong content ends the process."""
    if kept is None:
        return False
    expected = picture_of(number, kept.original_size[1])
    assert kept[1:] == expected[1:], (number, kept[1:])
    words = kept.image_embeddings.view(np.uint16)
    assert np.array_equal(words, expected.image_embeddings.view(np.uint16)), number
    return True


def check_mask(number: int, kept: NDArray[np.float16] | None) -> bool:
    if kept is None:
        return False
    words = kept.view(np.uint16)
    expected = values_of(number, int(words.flat[0]), LOGITS_SHAPE)
    assert np.array_equal(words, expected.view(np.uint16)), number
    return True


def use_once(cache: PictureCache, chance: random.Random) -> None:
    """Do one thing that models do."""
    number, salt = chance.choice(NUMBERS), chance.randrange(60_000)
    key, mask_key = key_of(number), key_of(number + 100)
    what = chance.random()
    if what < 0.3:
        cache.put_picture(key, picture_of(number, salt))
    elif what < 0.6:
        check(number, cache.get_picture(key))
    elif what < 0.75:
        cache.put_mask(key, mask_key, values_of(number, salt, LOGITS_SHAPE))
    elif what < 0.97:
        check_mask(number, cache.get_mask(key, mask_key))
    else:
        cache.forget(key)


def run(path: Path, seed: int, rounds: int) -> None:
    """Use the cache, then print what was found."""
    cache = PictureCache(path, SIZES)
    chance = random.Random(seed)
    for _ in range(rounds):
        use_once(cache, chance)
    print(json.dumps([vars(cache.picture_counts), vars(cache.mask_counts)]))


@contextlib.contextmanager
def child(work: Callable[[], Any]) -> Iterator[int]:
    """A forked process that does some work, killed at the end; gives its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status in (0, -signal.SIGKILL), status


def storm(path: Path, seed: int, kills: int) -> None:
    """Kill users of the cache at any moment, and use it meanwhile."""
    chance = random.Random(seed)

    def use_it() -> None:
        own = random.Random()
        cache = PictureCache(path, SIZES)
        while True:
            use_once(cache, own)

    mine = PictureCache(path, SIZES)
    for _ in range(kills):
        with child(use_it), child(use_it):
            for _ in range(chance.randrange(1, 40)):
                use_once(mine, chance)
    # Nobody holds the lock, and every slot can be had.
    for number in NUMBERS[: SIZES.pictures]:
        assert mine.put_picture(key_of(number), picture_of(number, 1))
    assert all(
        check(number, mine.get_picture(key_of(number))) for number in NUMBERS[: SIZES.pictures]
    )
    print(json.dumps([vars(mine.picture_counts), vars(mine.mask_counts)]))


def killed_at_line(line: int, prepare: Callable[[], Any], work: Callable[[Any], Any]) -> bool:
    """Have a forked process kill itself before a line of what writes; whether it got there."""
    left = line

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(("cache/slots.py", "cache/file.py")):
            return None
        if event == "line":
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        return trace

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            prepared = prepare()
            sys.settrace(trace)
            work(prepared)
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


OPERATIONS: dict[str, Callable[[PictureCache], Any]] = {
    "put": lambda cache: cache.put_picture(key_of(5), picture_of(5, 2)),
    "put again": lambda cache: cache.put_picture(key_of(0), picture_of(0, 2)),
    "put a mask": lambda cache: cache.put_mask(
        key_of(0), key_of(105), values_of(5, 2, LOGITS_SHAPE)
    ),
    "get": lambda cache: cache.get_picture(key_of(0)),
    "forget": lambda cache: cache.forget(key_of(0)),
}


def killed_while_opening(path: Path) -> int:
    """Kill a process at each line of the file's making; give how many lines that were."""
    line = 0
    while killed_at_line(line, lambda: path, lambda path: PictureCache(path, SIZES)):
        after = PictureCache(path, SIZES)
        assert after.put_picture(key_of(8), picture_of(8, 3))
        assert check(8, after.get_picture(key_of(8)))
        after.close()
        path.unlink()
        line += 1
    return line


def killed_while_in_use(path: Path, full: Path, name: str) -> int:
    """Kill a process at each line of an operation on a full cache."""
    line, was_killed = 0, True
    while was_killed:
        shutil.copy(full, path)
        was_killed = killed_at_line(line, lambda: PictureCache(path, SIZES), OPERATIONS[name])
        after = PictureCache(path, SIZES)
        if name == "forget":
            after.forget(key_of(0))  # as somebody does whose request has failed
            content = path.read_bytes()
            for shape in (EMBEDDING_SHAPE, LOGITS_SHAPE):
                assert values_of(0, 1, shape).tobytes()[-4096:] not in content, line
        found = [check(number, after.get_picture(key_of(number))) for number in (0, 1, 2, 5)]
        assert sum(found) >= SIZES.pictures - 1, (name, line, found)
        check_mask(0, after.get_mask(key_of(0), key_of(100)))
        check_mask(5, after.get_mask(key_of(0), key_of(105)))
        assert after.put_picture(key_of(8), picture_of(8, 3))
        assert check(8, after.get_picture(key_of(8)))
        assert after.picture_counts.damaged + after.mask_counts.damaged == 0
        after.close()
        line += 1
    return line - 1


def every_line(folder: Path) -> None:
    """Kill a process at each line of each operation, and print how many lines these have."""
    full = PictureCache(folder / "full", SIZES)
    for number in range(SIZES.pictures):
        assert full.put_picture(key_of(number), picture_of(number, 1))
    assert full.put_mask(key_of(0), key_of(100), values_of(0, 1, LOGITS_SHAPE))
    full.close()
    killed = {"open": killed_while_opening(folder / "opened")}
    for name in OPERATIONS:
        killed[name] = killed_while_in_use(folder / "used", folder / "full", name)
    print(json.dumps(killed))


if __name__ == "__main__":
    kind, where, *numbers = sys.argv[1:]
    {"run": run, "storm": storm, "every line": every_line}[kind](Path(where), *map(int, numbers))
