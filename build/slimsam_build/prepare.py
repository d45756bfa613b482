"""The step before a server of a fleet; docker/prepare.sh runs it.

A volume that many servers share has a repository for each kind of machine, checkpoint and version
of the configurations. This finds the one that belongs here, has it built if it is not there, by one
machine at a time, and leaves a link to it for the server. What is served elsewhere stays as it is.

Standard library only, so that it also runs where the artifacts are there already.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from slimsam_build.digest import sha256_of
from slimsam_build.errors import BuildError, RepositoryError
from slimsam_build.lease import Lease
from slimsam_build.machine import BOUND_TO, Machine, this_machine
from slimsam_client.version import __version__

PROGRAM: Final = "prepare.sh"
LEASE_SECONDS: Final = 180.0


def key_of(
    checkpoint: str, target: str, precision: str, configurations: Path, machine: Machine
) -> str:
    """Name the directory of a repository.

    Args:
        checkpoint: as slimsam-build takes it; of a directory, its files count.
        target: the target.
        precision: the precision.
        configurations: the model repository without artifacts.
        machine: where it is to be served.

    Returns:
        A file's name, of which the end is a hash of all these and of slimsam-build's version.
    """
    facts = {
        "version": __version__,
        "checkpoint": checkpoint,
        "files": _digests(Path(checkpoint)) if Path(checkpoint).is_dir() else None,
        "target": target,
        "precision": precision,
        "configurations": _digests(configurations),
    }
    names = [target, precision]
    if target in BOUND_TO:
        # The driver is not of it: a plan outlives its update.
        facts |= {name: getattr(machine, name) for name in (*BOUND_TO[target], "gpu", "slice")}
        names += [machine.gpu or "no-gpu", machine.slice or ""]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    words = re.sub(r"[^a-z0-9.]+", "-", " ".join(names).lower()).strip("-")
    return f"{words}-{digest[:12]}"


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def prepare(volume: Path, key: str, build: Path, target: str, seconds: float) -> Path:
    """Have a repository built, unless it is there.

    Args:
        volume: the directory of all repositories.
        key: the name of this one.
        build: docker/build.sh.
        target: the target.
        seconds: after which a holder of the lease is taken for dead.

    Raises:
        BuildError: it cannot be built.
    """
    repository = volume / key
    if _belongs_here(repository, target):
        return repository
    child: subprocess.Popen[bytes] | None = None
    lost = threading.Event()

    def stop() -> None:
        print(f"{PROGRAM}: another pod has taken the lease; ending", file=sys.stderr, flush=True)
        lost.set()
        if child is not None:
            _end(child)

    with Lease(volume / f".{key}.lease", seconds, stop, lambda line: print(line, flush=True)):
        if _belongs_here(repository, target):  # its builder was waited for
            return repository
        repository.mkdir(parents=True, exist_ok=True)
        print(f"building {repository}", flush=True)
        variables = {**os.environ, "SLIMSAM_MODELS": str(repository)}
        child = subprocess.Popen([build], env=variables, start_new_session=True)
        try:
            status = 1 if lost.is_set() else child.wait()
        finally:
            _end(child)
    if status:
        raise RepositoryError(f"{build}: expected status 0, got {status}; its log says why")
    return repository


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill a build with all that it has started, if it is there still."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _belongs_here(repository: Path, target: str) -> bool:
    command = ["slimsam-build", "check", "--target", target, "--model-repository", str(repository)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        print(done.stdout, end="", flush=True)
    return done.returncode == 0


def link(place: Path, repository: Path) -> None:
    """Let a path lead to a repository; whoever looks meanwhile sees the old one or the new."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(repository)
    part.replace(place)


def main() -> int:
    """Prepare the repository that the environment asks for.

    Returns:
        0 when it is there; 1 if it cannot be built; 2 if the environment is wrong.
    """
    # A pod that is deleted ends at once: its lease is taken over when it is not renewed any more.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    here = Path(sys.argv[1])
    try:
        volume, place = Path(os.environ["SLIMSAM_VOLUME"]), Path(os.environ["SLIMSAM_MODELS"])
        checkpoint, target = os.environ["SLIMSAM_CHECKPOINT"], os.environ["SLIMSAM_TARGET"]
        # For the build as well, so that what it makes is what the key says.
        precision = os.environ.setdefault("SLIMSAM_PRECISION", "fp32")
        seconds = float(os.environ.get("SLIMSAM_LEASE_SECONDS", LEASE_SECONDS))
        if not 0 < seconds < float("inf"):
            raise ValueError(f"SLIMSAM_LEASE_SECONDS: expected seconds above 0, got {seconds}")
    except KeyError as error:
        print(f"{PROGRAM}: expected {error.args[0]} in the environment", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    try:
        key = key_of(checkpoint, target, precision, here / "model_repository", this_machine())
        link(place, prepare(volume, key, here / "build.sh", target, seconds))
    except (BuildError, OSError) as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
