"""The clients in other languages of `examples/`, beside the SDK on a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inference_counts import settled_counts
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from slimsam_client import SlimSam
from slimsam_client.contract import ENCODER
from slimsam_client.encodings import from_rle, to_box
from slimsam_server import EmbeddedServer

ROOT = Path(__file__).parents[2]
GO = ROOT / ".go"
CLICK = {"points": [[180.5, 160]]}
BOXES = {"box": [[60, 20, 380, 290], [0, 0, 90, 80]], "multimask_output": False}


def build_node(directory: Path) -> list[str | Path]:
    """Install what examples/node needs; give its command."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--prefer-offline"],
        cwd=directory,
        check=True,
    )
    return ["node", directory / "click.mjs"]


def build_go(directory: Path) -> list[str | Path]:
    """Compile examples/go; give its command."""
    done = subprocess.run(["make", ".go/ready"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"`make .go/ready` did not bring Go and gRPC for it: {done.stderr}")
    settings = {
        "GOROOT": GO / "usr/lib/go",
        "GOPATH": GO / "usr/share/gocode",
        "GOCACHE": GO / "compiled",
        "GO111MODULE": "off",
        "GOFLAGS": "",
    }
    go = GO / "usr/lib/go/bin/go"
    subprocess.run(
        [go, "build", "-o", "click", "click.go"],
        cwd=directory,
        env={**os.environ, **settings},
        check=True,
    )
    formatted = subprocess.run(
        [go.with_name("gofmt"), "-d", "click.go"], cwd=directory, capture_output=True, check=True
    )
    assert formatted.stdout.decode() == ""
    return [directory / "click"]


PROGRAMS = {"node": build_node, "go": build_go}


@pytest.fixture(scope="module", params=list(PROGRAMS))
def run(
    request: pytest.FixtureRequest, protoset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run an example with an address, a picture's path and prompts."""
    directory = tmp_path_factory.mktemp(request.param)
    shutil.copytree(
        ROOT / "examples" / request.param,
        directory,
        ignore=shutil.ignore_patterns("node_modules"),
        dirs_exist_ok=True,
    )
    shutil.copy(protoset, directory)
    command = PROGRAMS[request.param](directory)

    def run(url: str, file: Path, *prompts: object) -> subprocess.CompletedProcess[str]:
        texts = [json.dumps(prompt) for prompt in prompts]
        return subprocess.run(
            [*command, url, file, *texts], capture_output=True, text=True, timeout=300
        )

    return run


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of odd sizes, that has to be turned."""
    path = tmp_path_factory.mktemp("photo") / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(data.chelsea()[:299, :447])).save(path, exif=exif)
    return path


def assert_equal(said: list[dict[str, Any]], masks: NDArray[np.bool_], scores: Any) -> None:
    """Compare a line of the output with masks (P, height, width) and their scores (P,)."""
    assert len(said) == len(masks)
    for one, mask, score in zip(said, masks, scores, strict=True):
        assert np.array_equal(from_rle(one["rle"]), mask)
        assert np.float32(one["score"]) == score
        assert one["area"] == mask.sum() > 500
        assert tuple(one["box"]) == to_box(mask)


def test_masks_are_those_of_the_sdk_and_a_forgotten_picture_is_sent_again(
    run: Callable[..., subprocess.CompletedProcess[str]], photo: Path, server: EmbeddedServer
) -> None:
    def lines(*prompts: object) -> list[list[dict[str, Any]]]:
        done = run(server.grpc_url, photo, *prompts)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    with SlimSam(server.grpc_url, timeout=300) as sam:
        embedding = sam.embed(photo)
        click = sam.predict(embedding, **CLICK)
        boxes = sam.predict(embedding, **BOXES)
        refined = sam.predict(embedding, **CLICK, mask_input=click.best_logits)
    first, second = lines(CLICK, BOXES)
    assert_equal(first, click.best_masks[None], [click.scores.max()])
    assert_equal(second, boxes.best_masks, boxes.scores.max(axis=-1))

    before = settled_counts(server.grpc_url, ENCODER.name)[0]
    refinement = {**CLICK, "mask_id": first[0]["mask_id"]}
    third, forgotten, again = lines(refinement, {"forget": True}, CLICK)
    assert_equal(third, refined.best_masks[None], [refined.scores.max()])
    assert forgotten == []
    assert_equal(again, click.best_masks[None], [click.scores.max()])
    assert settled_counts(server.grpc_url, ENCODER.name)[0] == before + 1


def test_what_is_wrong_is_said(
    run: Callable[..., subprocess.CompletedProcess[str]], photo: Path, server: EmbeddedServer
) -> None:
    done = run(server.grpc_url, photo, {"points": [[999, 1]]})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"{server.grpc_url}: ") and "(x, y) within" in done.stderr
    done = run("127.0.0.1:1", photo, CLICK)
    assert done.returncode == 1 and "unavailable" in done.stderr.lower()
    assert run(server.grpc_url, photo).returncode == 2
