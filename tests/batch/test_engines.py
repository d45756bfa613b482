"""Engines that start workers: each drives the same shards, to the same result."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from batch_runs import Workers, draw_pictures, environment

from slimsam_client.cli.batch import worker_name
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "deploy" / "batch" / "slurm.sh"
JOB = yaml.safe_load((ROOT / "deploy" / "batch" / "job.yaml").read_text())
COUNT, SHARDS = 8, 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[object]]:
    """Pictures, their detections, and options of all runs; the encoder is asked in the first."""
    folder = tmp_path_factory.mktemp("engines")
    detections = draw_pictures(folder / "pictures", COUNT, COUNT)
    options = ["--shards", SHARDS, "--embeddings", folder / "embeddings"]
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
    process = workers.start()
    assert process.wait(300) == 0, workers.said(process)
    return output / "out"


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
        sys.executable, ROOT / "examples" / "ray_batch.py", pictures, output, "--actors", 2,
        "--prompts", detections, "--shards", SHARDS, "--url", demo_server.grpc_url,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600,
        env=environment(
            demo_server.grpc_url, RAY_USAGE_STATS_ENABLED="0", RAY_TMPDIR="/tmp/slimsam-ray"
        ),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        f"{COUNT} images by Ray, {COUNT} in all, {2 * COUNT} masks, 0 failed"
    )
    assert files_of(output) == files_of(plain)
