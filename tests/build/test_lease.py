"""One holder at a time on a directory that several machines share."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from slimsam_build.errors import RepositoryError
from slimsam_build.lease import Lease

LONG = 600.0


def never() -> None:
    raise AssertionError("the lease was lost")


def numbers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_one_after_the_other(tmp_path: Path) -> None:
    held = 0
    most = 0
    told: list[str] = []
    lock = threading.Lock()

    def work() -> None:
        nonlocal held, most
        with Lease(tmp_path / "lease", LONG, never, told.append) as lease:
            assert lease.is_held()
            with lock:
                held += 1
                most = max(most, held)
            pause.wait(0.05)
            with lock:
                held -= 1

    pause = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (held, most) == (0, 1)
    assert all(line.endswith(" is held; waiting for its end") for line in told)
    assert numbers(tmp_path) == ["lease.4"]  # and it is free


HOLD_FOR_EVER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from slimsam_build.lease import Lease
with Lease(Path(sys.argv[1]), float(sys.argv[2]), lambda: print("lost", flush=True)):
    print("held", flush=True)
    time.sleep(3600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOR_EVER, tmp_path / "lease", "2"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_who_was_killed_is_taken_over(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.communicate()
    with Lease(tmp_path / "lease", 2, never) as lease:
        assert lease.is_held()
        assert numbers(tmp_path) == ["lease.2"]


def test_who_stood_still_learns_that_it_was_taken_over(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    from signal import SIGCONT, SIGSTOP

    holder.send_signal(SIGSTOP)
    with Lease(tmp_path / "lease", 2, never) as lease:
        holder.send_signal(SIGCONT)
        assert holder.stdout is not None and holder.stdout.readline() == "lost\n"
        assert lease.is_held()
    holder.kill()
    holder.communicate()


def test_who_waits_and_stood_still_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock has gone on, and on the same machine nobody could renew."""
    naps: list[float] = []
    clock = itertools.count(step=2 * LONG)

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 5:
            holder.__exit__(None, None, None)

    held_still = SimpleNamespace(monotonic=lambda: next(clock), sleep=sleep)
    monkeypatch.setattr("slimsam_build.lease.time", held_still)
    holder = Lease(tmp_path / "lease", LONG, never)
    holder.__enter__()
    with Lease(tmp_path / "lease", LONG, never):
        assert len(naps) == 5


def test_a_slow_taker_of_an_old_number_takes_nothing(tmp_path: Path) -> None:
    (tmp_path / "lease.7").write_bytes(b"")
    lease = Lease(tmp_path / "lease", LONG, never)
    assert not lease._take(5) and not lease._take(7)
    assert numbers(tmp_path) == ["lease.7"]


def test_a_number_that_who_has_passed_it_removes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lease.7").write_bytes(b"")
    lease = Lease(tmp_path / "lease", LONG, never)

    def passed() -> list[int]:
        (tmp_path / "lease.5").unlink()
        return [7]

    monkeypatch.setattr(lease, "_numbers", passed)
    assert not lease._take(5)
    assert numbers(tmp_path) == ["lease.7"]


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    with (
        pytest.raises(RepositoryError, match="expected a directory for a lease, got No such file"),
        Lease(tmp_path / "nowhere" / "lease", LONG, never),
    ):
        pass
