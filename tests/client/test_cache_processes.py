"""The server's cache between processes: content that proves itself, and kill -9 at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cache_users
import pytest

from slimsam_client.serving.cache.errors import CacheError
from slimsam_client.serving.cache.pictures import PictureCache

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Triton runs on Linux")


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, cache_users.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> Any:
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(said)


def test_processes_that_put_and_get_at_once(tmp_path: Path) -> None:
    users = [started("run", tmp_path / "pictures", seed, 300) for seed in range(4)]
    counts = [outcome(user) for user in users]
    for kind in (0, 1):
        total = {name: sum(each[kind][name] for each in counts) for name in counts[0][kind]}
        assert total["hits"] > 20 and total["misses"] > 20, total
        assert total["evictions"] > 5 and total["forgotten"] > 0, total
        # Slots are few, so a writer may be overtaken by three others; then it shows.
        assert total["damaged"] <= total["unkept"], total


def test_processes_that_are_killed_at_any_moment(tmp_path: Path) -> None:
    pictures, masks = outcome(started("storm", tmp_path / "pictures", 1, 40))
    assert pictures["hits"] > 10 and pictures["misses"] > 10, pictures
    assert masks["hits"] + masks["misses"] > 10, masks


def test_processes_that_are_killed_at_every_line(tmp_path: Path) -> None:
    lines = outcome(started("every line", tmp_path))
    assert all(count > 15 for count in lines.values()), lines


# Python warns of threads, which other tests have left behind.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_opens_its_own(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "pictures", cache_users.SIZES)
    key = cache_users.key_of(0)
    assert cache.put_picture(key, cache_users.picture_of(0, 1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                cache.get_picture(key)
            except CacheError:
                own = PictureCache(tmp_path / "pictures", cache_users.SIZES)
                status = 0 if cache_users.check(0, own.get_picture(key)) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
