"""Ctrl-C ends a command at once, whatever it waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from slimsam_client.contract import AUTOMATIC, BULK_DECODER, CLICK, ENCODER, IMAGE
from slimsam_client.testing import FakeServer

Process = Callable[..., "subprocess.Popen[str]"]
LONG = 200.0  # seconds; no test waits for them
FEW = ("--points-per-side", "2")


def interrupt(running: subprocess.Popen[str]) -> str:
    """Send Ctrl-C, and give what was said until the end."""
    running.send_signal(signal.SIGINT)
    out, said = running.communicate(timeout=LONG / 4)
    assert (running.returncode, out) == (130, "")
    lines = said.splitlines()
    assert lines[-1] == "slimsam: interrupted"
    assert set(lines[:-1]) <= {"slimsam: stopped; run the same command again to go on"}
    return said


@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        (IMAGE.name, ["segment", "IMAGE", "--point", "9,9"]),
        (CLICK.name, ["segment", "IMAGE", "--point", "9,9"]),
        (AUTOMATIC.name, ["everything", "IMAGE", *FEW]),
        (ENCODER.name, ["everything", "IMAGE", *FEW, "--in-client"]),
        (BULK_DECODER.name, ["everything", "IMAGE", *FEW, "--in-client"]),
        (AUTOMATIC.name, ["everything", "FOLDER", *FEW, "-o", "OUT"]),
        (BULK_DECODER.name, ["everything", "FOLDER", *FEW, "-o", "OUT", "--in-client"]),
    ],
)
def test_a_request_under_way(
    process: Process, tmp_path: Path, model: str, arguments: list[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (40, 30), "red").save(folder / f"{number}.png")
    places = {"IMAGE": folder / "0.png", "FOLDER": folder, "OUT": tmp_path / "out"}
    with FakeServer() as server:
        server.delay(model, LONG, times=99)
        line = [places.get(argument, argument) for argument in arguments]
        with process(*line, "--url", server.url, "--timeout", LONG) as running:
            while model not in [request.model for request in server.requests]:
                assert running.poll() is None
                time.sleep(0.01)
            interrupt(running)
    assert not [path for path in tmp_path.glob("out/*") if path.is_file()]


def sleeps(pid: int) -> bool:
    """Whether a process waits for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_a_pipe_that_nothing_comes_through(process: Process, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    line = ("segment", pipe, "--point", "9,9", "--url", "127.0.0.1:1")
    with process(*line) as running:
        with pipe.open("wb"):  # waits until the command opens it
            # A signal between Python's last look and its read would wait for the read's end.
            time.sleep(1)
            while not sleeps(running.pid):
                time.sleep(0.1)
            interrupt(running)
