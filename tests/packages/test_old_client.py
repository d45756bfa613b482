"""The client of 0.1.0, as it was, on the server of today: services are not upgraded with it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from slimsam_client import GenerateSettings, SlimSam
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "examples" / "scene.png"

COMMIT = "e0310153ff39faa5cfb1185da6731aa06c61f124"
"""The last one of 0.1.0, before servers had slimsam_info and embeddings a digest."""


@pytest.fixture(scope="module")
def old_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the wheel of 0.1.0 is installed in."""
    directory = tmp_path_factory.mktemp("old-client")
    git = subprocess.run(["git", "archive", COMMIT, "client"], cwd=ROOT, capture_output=True)
    if git.returncode:
        pytest.skip(f"{COMMIT} is not in this clone: `git fetch --unshallow` brings the history")
    with tarfile.open(fileobj=io.BytesIO(git.stdout)) as archive:
        archive.extractall(directory / "source", filter="data")
    wheels = directory / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=directory / "source" / "client", check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    assert wheel.name.startswith("slimsam_client-0.1.0-")
    installed = directory / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", installed, wheel], check=True, capture_output=True)
    return installed


def run(old_client: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run Python where the old client is found before the one of the environment."""
    environment = {**os.environ, "PYTHONPATH": str(old_client), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def answers(
    old_client: Path, demo_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    """What each kind of call gave."""
    output = tmp_path_factory.mktemp("answers") / "answers.npz"
    program = Path(__file__).with_name("program_of_0_1_0.py")
    done = run(old_client, program, demo_server.grpc_url, PICTURE, output)
    assert done.returncode == 0, done.stderr
    return dict(np.load(output))


def test_it_is_the_old_client_that_runs(old_client: Path) -> None:
    done = run(old_client, "-c", "import slimsam_client; print(slimsam_client.__file__)")
    assert Path(done.stdout.strip()).is_relative_to(old_client), done.stderr


def test_its_answers_are_those_of_the_client_of_today(
    answers: dict[str, np.ndarray], demo_server: EmbeddedServer
) -> None:
    click, box = [(914, 256)], (411, 463, 673, 619)
    with SlimSam(demo_server.grpc_url, timeout=60) as sam:
        embedding = sam.embed(PICTURE)
        first = sam.predict(embedding, points=click)
        two = sam.segment(PICTURE, points=[*click, (50, 50)], labels=[1, 0])
        today = {
            "points": first,
            "box": sam.predict(embedding, box=box, multimask_output=False),
            "mask": sam.predict(embedding, points=click, mask_input=first.best_logits),
            "many": sam.predict(embedding, points=[[click[0]], [(540, 540)]], labels=[[1], [1]]),
            "segment": two,
            "asynchronous": two,
        }
        settings = GenerateSettings(
            points_per_side=3, pred_iou_thresh=0.7, stability_score_thresh=0.8
        )
        records = sam.generate(PICTURE, settings)
    assert np.array_equal(answers["embedding/image_embeddings"], embedding.image_embeddings)
    for name, prediction in today.items():
        assert answers[f"{name}/masks"].any()
        for part in ("scores", "low_res_logits", "masks"):
            given, expected = answers[f"{name}/{part}"], getattr(prediction, part)
            assert given.shape == expected.shape and given.dtype == expected.dtype
            # Requests that share a batch are not computed to the last bit alike.
            assert np.mean(np.abs(given.astype(float) - expected)) < 1e-3, (name, part)
    assert len(records) > 1
    masks = np.stack([record.segmentation for record in records])
    given = answers["generate/masks"]
    assert given.shape == masks.shape
    assert np.mean(given != masks) < 1e-3


def test_it_is_told_that_everything_mode_on_the_server_is_another(
    answers: dict[str, np.ndarray],
) -> None:
    """The one thing that does not work any more: the model had an input that ended servers."""
    refused = str(answers["generate/refused"])
    assert "slimsam_automatic: expected input image UINT8 [-1, -1, 3]" in refused
    assert "this client's version" in refused


def test_its_health_command_finds_all_but_everything_mode_well(
    old_client: Path, demo_server: EmbeddedServer
) -> None:
    program = "import sys; from slimsam_client.cli import main; sys.exit(main())"
    done = run(old_client, "-c", program, "health", "--json", "--url", demo_server.grpc_url)
    report = json.loads(done.stdout)
    models = {model["model"]: model for model in report["models"]}
    assert {"slimsam", "slimsam_encoder", "slimsam_decoder", "slimsam_automatic"} == set(models)
    assert all(model["ready"] for model in models.values())
    wrong = [name for name, model in models.items() if not model["contract"]]
    assert wrong == ["slimsam_automatic"] and done.returncode == 1


def test_its_segment_command_writes_the_mask(
    old_client: Path, demo_server: EmbeddedServer, tmp_path: Path
) -> None:
    program = "import sys; from slimsam_client.cli import main; sys.exit(main())"
    output = tmp_path / "mask.png"
    done = run(
        old_client, "-c", program, "segment", PICTURE, "--point", "914,256", "-o", output,
        "--url", demo_server.grpc_url,
    )  # fmt: skip
    assert done.returncode == 0 and output.exists(), done.stderr
