"""A Slurm of one machine: the real munged, slurmctld and slurmd, on loopback, without systemd."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from slimsam_server.ports import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo")
ROOT_FOLDERS = "/usr/sbin:/sbin"
"""Where Debian has daemons, which may not be on the PATH of who runs tests."""
CPUS, MEGABYTES = 8, 16384
"""What the node says it has, so that tasks run side by side on a smaller machine, too."""


class SlurmCluster:
    """A running Slurm.

    Args:
        folder: its configuration, state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "PATH": f"{os.environ['PATH']}:{ROOT_FOLDERS}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def ask(self, *command: object, **variables: str) -> str:
        """Run one of Slurm's commands; give what it prints."""
        done = subprocess.run(
            list(map(str, command)), env={**self._environment, **variables}, cwd=self.folder,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr, self.logs())
        return done.stdout

    def submit(self, *arguments: object, **variables: str) -> int:
        """Queue a script, with these variables of the environment; give the job's number."""
        return int(self.ask("sbatch", "--parsable", *arguments, **variables))

    def tasks(self, job: int) -> list[dict[str, str]]:
        """What Slurm says of each task of an array, in their order."""
        said = self.ask("scontrol", "show", "job", job, "--oneliner").splitlines()
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in said]
        return sorted(found, key=lambda task: task["ArrayTaskId"])

    def wait(self, condition: Callable[[], object], seconds: float = 300) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.1)

    def ended(self, job: int) -> bool:
        """Whether no task of an array runs or waits any more."""
        states = {task["JobState"] for task in self.tasks(job)}
        return not states & {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED"}

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(
            f"{path.name}: {path.read_text(errors='replace')[-2000:]}"
            for path in sorted(self.folder.glob("*.log"))
        )

    def _start(self, *command: object) -> subprocess.Popen[Any]:
        name = Path(str(command[0])).name
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                list(map(str, command)), env=self._environment, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip


def is_installed() -> bool:
    """Whether this machine has all that a cluster needs."""
    path = f"{os.environ['PATH']}:{ROOT_FOLDERS}"
    return all(shutil.which(program, path=path) for program in PROGRAMS)


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """Run a Slurm whose only node is this machine. As root, whom slurmd has to be.

    Args:
        folder: an empty one, with a short path: munged's socket is in it.
    """
    cluster = SlurmCluster(folder)
    (folder / "slurm.conf").write_text(_configuration(folder))
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {name: folder / f"munged.{name}" for name in ("socket", "pid", "seed")}
    with ExitStack() as stack:
        # --force: it would have nothing above its socket that others may write to, and /tmp is.
        for command in (
            ["munged", "--foreground", "--force", f"--key-file={key}",
             f"--log-file={folder / 'munge.log'}", f"--socket={files['socket']}",
             f"--pid-file={files['pid']}", f"--seed-file={files['seed']}"],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
        ):  # fmt: skip
            process = cluster._start(*command)
            stack.callback(_end, process)
            if command[0] == "munged":
                cluster.wait(files["socket"].exists)
        cluster.wait(lambda: "idle" in cluster.ask("sinfo", "--noheader", "--format=%t"))
        yield cluster
        cluster.ask("scancel", "--full", "--user=root")
        cluster.wait(lambda: not cluster.ask("squeue", "--noheader"))


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _configuration(folder: Path) -> str:
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    # A task that is requeued starts when the credential of its first start has expired: after two
    # minutes if nothing else is said.
    return f"""\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder / "munged.socket"},cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder / "state"}
SlurmdSpoolDir={folder / "spool"}
SlurmctldPidFile={folder / "slurmctld.pid"}
SlurmdPidFile={folder / "slurmd.pid"}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={CPUS} RealMemory={MEGABYTES}
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
