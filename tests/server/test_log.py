"""Which line of Triton's log is the reason, and which says that all is answered."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from slimsam_server.log import MAX_QUOTED, models_are_stopped, reason

START = """\
2026-11-26T00:57:19Z W 1 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"
2026-11-26T00:57:19Z E 1 server.cc:241] "CudaDriverHelper has not been initialized."
2026-11-26T00:57:19Z E 1 openvino.cc:322] "error when reading parameters: no HINT_BF16"
2026-11-26T00:57:19Z I 1 server.cc:674] "| openvino | error |"
2026-11-26T00:57:20Z E 1 ensemble_scheduler.cc:1468] "unable to create stream for slimsam: none"
2026-11-26T00:57:20Z W 1 metrics.cc:798] "DCGM unable to start: DCGM initialization error"
"""
LIBRARY = "failed to load 'slimsam_encoder' version 1: Not found: unable to load shared library: x"
FAILED = f"""\
2026-11-26T00:57:21Z E 1 backend_model.cc:692] "ERROR: Failed to create instance: x"
2026-11-26T00:57:21Z E 1 model_lifecycle.cc:642] "{LIBRARY}"
2026-11-26T00:57:21Z E 1 model_repository_manager.cc:703] "ensemble 'slimsam' depends on another"
error: creating server: Internal - failed to load all models
"""
LATER = '2026-11-26T01:57:21Z E 1 x.cc:2] "Stub process is not healthy."\n'
STOPPING = """\
Signal (15) received.
2026-11-26T01:57:22Z I 1 server.cc:305] "Waiting for in-flight requests to complete."
2026-11-26T01:57:22Z I 1 server.cc:321] "Timeout 3: Found 1 model versions that have in-flight inf"
"""
STOPPED = '2026-11-26T01:57:23Z I 1 server.cc:336] "All models are stopped, unloading models"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        (START, None),
        (START + FAILED, LIBRARY),
        (START + "error: creating server: Internal - no\n", "creating server: Internal - no"),
        (START + LATER, "Stub process is not healthy."),
    ],
    ids=["empty", "of every start", "a library", "last words", "later"],
)
def test_the_reason_of_a_log(text: str, expected: str | None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert reason(log) == expected
    assert reason(log, log.stat().st_size) is None


def test_an_error_of_long_before_is_no_reason(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(FAILED.replace("error: creating", "creating") + LATER)
    noon = datetime(2026, 11, 26, 12, tzinfo=timezone.utc).timestamp()
    assert reason(log, since=noon) is None
    assert reason(log, since=noon - 11 * 3600) == "Stub process is not healthy."
    assert reason(log, since=noon - 12 * 3600) == LIBRARY
    log.write_text(FAILED)  # its last words have no time
    assert reason(log, since=noon) == "creating server: Internal - failed to load all models"


def test_a_log_that_is_missing_is_no_text_or_is_long(tmp_path: Path) -> None:
    assert reason(tmp_path / "none") is None
    log = tmp_path / "log"
    log.write_bytes(b"\xff\xfe" + LATER.encode() + LATER.replace("Stub", "x" * 5000).encode())
    assert reason(log) == "x" * MAX_QUOTED


def test_models_that_are_stopped(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not models_are_stopped(log, 0)
    log.write_text(START + STOPPING)
    assert not models_are_stopped(log, 0)
    log.write_text(START + STOPPING + STOPPED)
    assert models_are_stopped(log, len(START))
    assert not models_are_stopped(log, log.stat().st_size)
