"""Engines that start workers: each drives the same shards, to the same result.

SLIMSAM_ENGINE_PICTURES=400 has so many pictures, and no embeddings that one engine leaves to
another; with -rP pytest then shows how long each took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from batch_runs import Workers, draw_pictures, environment
from slurm_cluster import SlurmCluster, is_installed, slurm_cluster

from slimsam_client.cli.batch import worker_name
from slimsam_server import EmbeddedServer
from slimsam_server.ports import free_port

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "deploy" / "batch" / "slurm.sh"
JOB = yaml.safe_load((ROOT / "deploy" / "batch" / "job.yaml").read_text())
MEASURED = int(os.environ.get("SLIMSAM_ENGINE_PICTURES", 0))
COUNT, SHARDS = (MEASURED, 20) if MEASURED else (8, 4)
SECONDS = 3600 if MEASURED else 300
WORKERS = 2


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[object]]:
    """Pictures, their detections, and options of all runs; the encoder is asked in the first."""
    folder = tmp_path_factory.mktemp("engines")
    detections = draw_pictures(folder / "pictures", COUNT, COUNT)
    options = ["--shards", SHARDS]
    if not MEASURED:
        options += ["--embeddings", folder / "embeddings"]
    return folder / "pictures", detections, options


@pytest.fixture(scope="module")
def plain(
    drawn: tuple[Path, Path, list[object]],
    demo_server: EmbeddedServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What the plain command writes."""
    pictures, detections, options = drawn
    output = tmp_path_factory.mktemp("plain")
    arguments = [pictures, output / "out", "--prompts", detections, *options]
    workers = Workers(arguments, environment(demo_server.grpc_url), output)
    with timed("the plain command, one worker"):
        process = workers.start()
        assert process.wait(SECONDS) == 0, workers.said(process)
    return output / "out"


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a batch took, the start of its workers included."""
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    print(f"{what}: {COUNT} pictures in {seconds:.1f} s, {COUNT / seconds:.2f} a second")


def test_workers_of_the_plain_command(
    drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    """What the engines are measured by: as many workers as they have."""
    pictures, detections, options = drawn
    arguments = [pictures, tmp_path / "out", "--prompts", detections, *options]
    workers = Workers(arguments, environment(demo_server.grpc_url), tmp_path)
    with timed(f"the plain command, {WORKERS} workers"):
        for _ in range(WORKERS):
            workers.start()
        assert workers.join(SECONDS) == [0] * WORKERS
    assert files_of(tmp_path / "out") == files_of(plain)


def files_of(output: Path) -> dict[str, bytes]:
    """The results of all shards, and what was made of them."""
    names = ["annotations.json", "summary.json"]
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in [*(output / "results").iterdir(), *(output / name for name in names)]
    }


def test_slurm_tasks(
    drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    """The script as Slurm runs it, with what an array sets."""
    pictures, detections, options = drawn
    output = tmp_path / "out"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    tasks = [
        subprocess.Popen(
            ["bash", SLURM, *map(str, (pictures, output, "--prompts", detections, *options))],
            env=environment(
                demo_server.grpc_url, PATH=path, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=task
            ),
            stderr=subprocess.PIPE,
        )
        for task in ("0", "1", "2")
    ]
    said = [task.communicate(timeout=300)[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0, 0], said
    assert files_of(output) == files_of(plain)
    claims = [path.read_text() for path in (output / "claims").iterdir()]
    assert claims and all(claim.startswith("task-") for claim in claims)


def test_an_indexed_job(
    drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    """The container's own arguments, with the index that Kubernetes sets."""
    pictures, detections, options = drawn
    output = tmp_path / "out"
    (container,) = JOB["spec"]["template"]["spec"]["containers"]
    given = dict(zip(["source", "output"], container["args"], strict=False))
    args = [argument for argument in container["args"] if argument not in given.values()]
    assert "--lenient" in args and "--format=parquet" in args
    args = [argument for argument in args if not argument.startswith(("--prompts", "--format"))]
    args = [argument.replace("slimsam:8001", demo_server.grpc_url) for argument in args]
    arguments = [pictures, output, *args, "--prompts", detections, *options]
    workers = Workers(arguments, environment(demo_server.grpc_url), tmp_path)
    for index in range(2):
        workers.start(JOB_COMPLETION_INDEX=str(index))
    assert workers.join() == [0, 0]
    assert files_of(output) == files_of(plain)
    claims = [path.read_text() for path in (output / "claims").iterdir()]
    assert claims and all(claim.startswith("job-") for claim in claims)


def test_the_job_is_one_that_kubernetes_takes() -> None:
    spec = JOB["spec"]
    assert (JOB["apiVersion"], JOB["kind"], spec["completionMode"]) == (
        "batch/v1",
        "Job",
        "Indexed",
    )
    assert spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # as podFailurePolicy and backoffLimitPerIndex want it
    (container,) = pod["containers"]
    rules = spec["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"] == {
        "containerName": container["name"], "operator": "In", "values": [2],
    }  # fmt: skip
    assert container["image"].startswith("slimsam-batch:")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_the_script_is_one_that_bash_takes() -> None:
    subprocess.run(["bash", "-n", SLURM], check=True)
    assert os.access(SLURM, os.X_OK)


@pytest.mark.parametrize(
    ("variables", "start"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3"}, "task-3@"),
        ({"JOB_COMPLETION_INDEX": "0"}, "job-0@"),
        ({}, os.uname().nodename),
    ],
)
def test_a_worker_is_named_by_its_engine(variables: dict[str, str], start: str) -> None:
    name = worker_name(variables)
    assert name.startswith(start) and name.endswith(f"-{os.getpid()}")


# `make test-ray`: 600 MB of packages, in an environment of their own.
@pytest.mark.ray
@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: make test-ray")
def test_ray_data(
    drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    pictures, detections, _ = drawn
    output = tmp_path / "out"
    command = [
        sys.executable, ROOT / "examples" / "ray_batch.py", pictures, output, "--actors", WORKERS,
        "--prompts", detections, "--shards", SHARDS, "--url", demo_server.grpc_url,
    ]  # fmt: skip
    with timed(f"Ray Data, {WORKERS} actors"):
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=max(600, SECONDS),
            env=environment(
                demo_server.grpc_url, RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR="/tmp/slimsam-ray"
            ),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{COUNT} images by Ray, {COUNT} in all, {2 * COUNT} masks, 0 failed"
    )
    assert files_of(output) == files_of(plain)


# `make test-slurm`: Debian's packages, and root, whom slurmd has to be.
@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmCluster]:
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_cluster(Path(folder)) as it:
        yield it


slurm = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        not is_installed() or os.getuid() != 0 or "SLIMSAM_SLURM" not in os.environ,
        reason="as root, by a Slurm that has the machine for itself: make test-slurm",
    ),
]


def with_slimsam(url: str) -> dict[str, str]:
    """What a task needs besides what Slurm sets."""
    return environment(url, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


class TestSlurm:
    """A real slurmctld and slurmd, and the script as a user queues it."""

    pytestmark = slurm

    def test_an_array(
        self, drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer,
        cluster: SlurmCluster, tmp_path: Path,
    ) -> None:  # fmt: skip
        pictures, detections, options = drawn
        output = tmp_path / "out"
        with timed(f"Slurm, an array of {WORKERS}"):
            job = cluster.submit(
                f"--array=0-{WORKERS - 1}", SLURM, pictures, output, "--prompts", detections,
                *options, **with_slimsam(demo_server.grpc_url),
            )  # fmt: skip
            cluster.wait(lambda: cluster.ended(job), SECONDS)
        tasks = cluster.tasks(job)
        assert [task["JobState"] for task in tasks] == ["COMPLETED"] * WORKERS, said_by(cluster)
        assert files_of(output) == files_of(plain)
        claims = [path.read_text() for path in (output / "claims").iterdir()]
        assert claims and all(claim.startswith("task-") for claim in claims)

    def test_a_task_that_is_queued_again(
        self, drawn: tuple[Path, Path, list[object]], plain: Path, demo_server: EmbeddedServer,
        demo_repository: Path, cluster: SlurmCluster, tmp_path: Path,
    ) -> None:  # fmt: skip
        """As one is whose node went to others: while it waits for a server that comes later."""
        port = free_port()
        job = self.waiting(drawn, demo_server, cluster, tmp_path, port, "--array=0-1")
        cluster.ask("scontrol", "requeue", f"{job}_1")
        cluster.wait(lambda: self.states(cluster, job) == ["RUNNING", "RUNNING"])
        assert [task["Restarts"] for task in cluster.tasks(job)] == ["0", "1"]
        with EmbeddedServer(demo_repository, grpc_port=port):
            cluster.wait(lambda: cluster.ended(job), SECONDS)
        assert self.states(cluster, job) == ["COMPLETED", "COMPLETED"], said_by(cluster)
        assert files_of(tmp_path / "out") == files_of(plain)

    def test_a_task_ends_itself_before_its_time_is_over(
        self, drawn: tuple[Path, Path, list[object]], demo_server: EmbeddedServer,
        cluster: SlurmCluster, tmp_path: Path,
    ) -> None:  # fmt: skip
        """It gives its shard up at SIGTERM, which Slurm sends to the script if it is told to."""
        job = self.waiting(
            drawn, demo_server, cluster, tmp_path, free_port(), "--array=0-0", "--time=1"
        )
        cluster.wait(lambda: cluster.ended(job), SECONDS)
        (task,) = cluster.tasks(job)
        assert (task["JobState"], task["ExitCode"]) == ("FAILED", "130:0"), said_by(cluster)
        assert "ended; others go on" in said_by(cluster)

    def waiting(
        self, drawn: tuple[Path, Path, list[object]], planned_by: EmbeddedServer,
        cluster: SlurmCluster, tmp_path: Path, port: int, *arguments: object,
    ) -> int:  # fmt: skip
        """Queue an array for a batch with a plan, at whose port nobody answers; all tasks run."""
        pictures, detections, options = drawn
        batch = [pictures, tmp_path / "out", "--prompts", detections, *options]
        planning = Workers([*batch, "--plan"], environment(planned_by.grpc_url), tmp_path)
        planning.start()
        assert planning.join() == [0]
        job = cluster.submit(*arguments, SLURM, *batch, **with_slimsam(f"127.0.0.1:{port}"))
        cluster.wait(lambda: set(self.states(cluster, job)) == {"RUNNING"})
        return job

    def states(self, cluster: SlurmCluster, job: int) -> list[str]:
        return [task["JobState"] for task in cluster.tasks(job)]


def said_by(cluster: SlurmCluster) -> str:
    """What all tasks have said."""
    return "".join(path.read_text() for path in sorted(cluster.folder.glob("slimsam-batch-*.log")))
