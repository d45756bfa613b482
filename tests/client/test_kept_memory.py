"""Memory that is kept: by a model from one request to the next, by a client during one."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
import tracemalloc
from typing import Any

import pytest
from PIL import Image

from slimsam_client.calls import AskDigest, Call, Operation, advance
from slimsam_client.operations import embed, generate, segment

ROUNDS = """
import resource
import threading
import numpy as np
from slimsam_client.serving.heap import keep_freed_memory

def work():
    arrays = [np.ones(2**21, np.uint8) for _ in range(4)]

def rounds():
    for _ in range(5):
        work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        work()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)

keep_freed_memory()
rounds()
thread = threading.Thread(target=rounds)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep memory or not")
def test_arrays_of_the_next_request_take_no_new_memory() -> None:
    """A round's arrays are 2,048 pages, and each page from the system is a page fault."""
    environment = {**os.environ, "GLIBC_TUNABLES": ""}
    run = subprocess.run(
        [sys.executable, "-c", ROUNDS], env=environment, capture_output=True, text=True, check=True
    )
    assert all(int(faults) < 64 for faults in run.stdout.split()) and run.stdout


@pytest.mark.parametrize("name", ["embed", "segment", "generate"])
def test_an_images_pixels_are_let_go_while_the_server_works(name: str) -> None:
    side = 4000
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    operation: Operation[Any] = {
        "embed": lambda: embed(file),
        "segment": lambda: segment(file, [(5, 5)], None, None, None, True),
        "generate": lambda: generate(file, None, None, on_server=True),
    }[name]()
    tracemalloc.start()
    try:
        step = advance(operation, None)
        while isinstance(step, AskDigest):
            step = advance(operation, None)
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(step, Call)
    assert most >= 3 * side**2 > 4 * held
