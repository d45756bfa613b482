"""slimsam-serve starts its server again: when processes end or hang, never for load alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from server_process import first_stub, ready_url

from slimsam_client import RequestTimeoutError, SlimSam
from slimsam_client.contract import ENCODER
from slimsam_client.probes import PROBES
from slimsam_client.testing import FakeServer
from slimsam_client.transport.status import Status, from_status
from slimsam_server import EmbeddedServer
from slimsam_server.monitor import LONGEST_PAUSE, SECOND_LOOK, SHORTEST_PAUSE, pause_after
from slimsam_server.probe import ask
from slimsam_server.processes import children
from slimsam_server.supervisor import Backoff
from slimsam_server.verdict import Verdict

Serve = Callable[..., subprocess.Popen[str]]
BROKEN = from_status(Status("INTERNAL", "Stub process 'x_0_0' is not healthy."), "here:1", True)
LOAD = [
    from_status(Status(code, details), "here:1", True)
    for code, details in (
        ("DEADLINE_EXCEEDED", ""),
        ("UNAVAILABLE", "in ensemble 'slimsam', Exceeds maximum queue size"),
        ("RESOURCE_EXHAUSTED", "too many requests"),
        ("UNAVAILABLE", "Socket closed"),
        ("CANCELLED", ""),
    )
]


def test_it_serves_again_at_the_same_address(start: Serve) -> None:
    process = start()
    url = ready_url(process)
    assert process.stderr is not None
    for pause, model, number, reason in (
        (1, "slimsam_decoder", signal.SIGKILL, "a model's process has died; "),
        (2, None, signal.SIGKILL, "tritonserver ended with status -9 (SIGKILL; the kernel "),
        (4, "slimsam_automatic", signal.SIGSTOP, "slimsam_automatic failed in 3 of its last "),
    ):
        (tritonserver,) = children(process.pid)
        os.kill(first_stub(tritonserver, model) if model else tritonserver, number)
        line = process.stderr.readline()
        assert line.startswith(f"slimsam-serve: {reason}")
        assert line.endswith(f"; starting the server again in {pause} s\n")
        assert ready_url(process) == url
        with SlimSam(url, timeout=60) as sam:
            sam.segment(np.zeros((8, 8, 3), np.uint8), points=[(4, 4)])
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert process.stderr.readline().endswith("again in 8 s\n")
    process.terminate()  # in the pause
    assert process.communicate(timeout=60) == ("", "") and process.returncode == 0


def test_a_model_that_does_not_answer_in_time_is_not_broken(demo_server: EmbeddedServer) -> None:
    with SlimSam(demo_server.grpc_url, timeout=60) as sam:
        for model in PROBES:
            assert model in demo_server.models()
            assert ask(sam, model, 60) is None
    verdict = Verdict()
    with FakeServer() as slow, SlimSam(slow.url, timeout=0.2) as sam:
        slow.delay(ENCODER.name, 60, times=6)
        for _ in range(6):
            error = ask(sam, ENCODER.name, 0.2)
            assert isinstance(error, RequestTimeoutError)
            assert verdict.note(ENCODER.name, error) is None


def test_a_model_is_broken_by_three_of_its_last_five_answers() -> None:
    verdict = Verdict()
    for error in [*LOAD, BROKEN, BROKEN, *LOAD]:
        assert verdict.note("slimsam", error) is None
    said = verdict.note("slimsam", BROKEN)
    assert said and said.startswith("slimsam failed in 3 of its last 3 probes: here:1: ")
    assert "Stub process 'x_0_0' is not healthy." in said


def test_of_two_instances_one_is_broken() -> None:
    verdict = Verdict()
    assert not verdict.doubts()
    for error in (BROKEN, None, BROKEN, None):
        assert verdict.note("slimsam_automatic", error) is None
        assert verdict.doubts()  # so that the next probe comes soon
    assert verdict.note("slimsam_automatic", BROKEN) is not None


def test_a_server_that_says_nothing_for_two_minutes_hangs() -> None:
    verdict = Verdict()
    for now in (1000, 1090, 1119.9):
        assert verdict.note_silence(True, now) is None and verdict.doubts()
    assert verdict.note_silence(False, 1119.9) is None and not verdict.doubts()
    assert verdict.note_silence(True, 1200) is None
    assert verdict.note_silence(True, 1321) == "the server has said nothing for 121 s"


def test_rare_failures_and_those_of_several_models_are_not_added_up() -> None:
    verdict = Verdict()
    for error in [BROKEN, BROKEN, None, None, None] * 10:
        assert verdict.note("slimsam", error) is None
    for model in PROBES:
        assert verdict.note(model, BROKEN) is None


def test_pauses_between_probes_are_long_where_probes_are() -> None:
    assert pause_after(0.01, False) == SHORTEST_PAUSE
    assert pause_after(1, False) == 20
    assert pause_after(30, False) == LONGEST_PAUSE
    assert pause_after(30, True) == SECOND_LOOK


def test_pauses_before_starts_double_up_to_a_limit_and_begin_again() -> None:
    backoff = Backoff()
    assert [backoff.pause(5) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [backoff.pause(3600), backoff.pause(0)] == [1, 2]


# In processes of their own, whose signals are theirs.
FAILS_IN_MANY_WAYS = """
import os, signal, sys
from slimsam_server import supervisor

supervisor.FIRST_PAUSE = 0.0

class Failing:
    starts = 0
    could_not_be_stopped = False

    def start(self):
        self.starts += 1

    def models(self):
        return []

    def failure(self):
        if self.starts == 1:
            raise FileNotFoundError("a thread")
        if self.starts == 2:
            return "it has died"
        os.kill(os.getpid(), signal.SIGTERM)

    def stop(self, seconds=None):
        if self.starts == 2 and not self.could_not_be_stopped:
            self.could_not_be_stopped = True
            raise RuntimeError("can't start new thread")

sys.exit(supervisor.Supervisor("it", Failing(), None, lambda: "ready", restarts=True).run())
"""


def test_whatever_fails_it_serves_again() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILS_IN_MANY_WAYS], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "ready\n" * 3)
    assert done.stderr.splitlines() == [
        "it: FileNotFoundError: a thread; starting the server again in 0 s",
        "it: it has died; starting the server again in 0 s",
        "it: expected to stop the server, got RuntimeError: can't start new thread",
    ]


# A signal's handler may run between any two lines, here of the supervisor and of what it waits by.
AT_EVERY_LINE = """
import sys
from slimsam_server import supervisor

class Quiet:
    def start(self): pass
    def models(self): return []
    def failure(self): return None
    def stop(self, seconds=None): pass

supervisor.SECONDS_BETWEEN_LOOKS = 0.001

def run(line):
    watched = supervisor.Supervisor("it", Quiet(), None, lambda: "ready", True)
    passed = 0

    def trace(frame, event, argument):
        nonlocal passed
        if event == "line" and watched._serving_since is not None:
            passed += 1
            if passed == line:
                sys.settrace(None)
                watched._interrupt(15, frame)
        return trace

    sys.settrace(trace)
    return watched.run()

sys.exit(any(run(line) for line in range(1, 120)))
"""


def test_a_signal_at_any_line_ends_it() -> None:
    done = subprocess.run([sys.executable, "-c", AT_EVERY_LINE], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
