"""`slimsam everything` on one image, and its options."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slimsam_client import GenerateSettings, SlimSam, load_image
from slimsam_client.cli import everything

PICTURE = Path(__file__).parents[2] / "examples" / "scene.png"
FEW = ("--points-per-side", 4)
FIELDS = dataclasses.fields(GenerateSettings)

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


def test_each_setting_is_an_option_and_nothing_else_is(main: Main) -> None:
    parser = argparse.ArgumentParser()
    everything.add_options(parser)
    parsed = vars(parser.parse_args(["a.png"]))
    for field in FIELDS:
        assert parsed[field.name] == field.default
        assert type(parsed[field.name]) is type(field.default)
    _, text, _ = main("everything", "--help")
    said = text.partition("settings:\n")[2].partition("\nserver:")[0]
    listed = re.findall(r"^  --([a-z-]+) ", said, re.MULTILINE)
    assert listed == [field.name.replace("_", "-") for field in FIELDS]
    for field in FIELDS:
        assert " ".join(field.metadata["text"].split()) in " ".join(said.split())


@pytest.mark.parametrize("where", ["--on-server", "--in-client"])
def test_records_are_those_of_the_client(
    slimsam: Run,
    sam: SlimSam,
    settings: GenerateSettings,
    options: tuple[object, ...],
    where: str,
    tmp_path: Path,
) -> None:
    output = tmp_path / "overlay.png"
    done = slimsam("everything", PICTURE, where, *options, "--json", "-o", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = json.loads(done.stdout)
    image = load_image(PICTURE)
    records = sam.generate(image, settings)
    assert len(records) >= 4
    assert said == {
        "image": "scene.png",
        "height": image.shape[0],
        "width": image.shape[1],
        "sha256": hashlib.sha256(PICTURE.read_bytes()).hexdigest(),
        "settings": dataclasses.asdict(settings),
        "records": [record.as_dict("coco_rle") for record in records],
    }
    with Image.open(output) as picture:
        drawn = np.asarray(picture)
    covered = np.any([record.segmentation for record in records], axis=0)
    assert np.array_equal((drawn != image).any(axis=-1), covered)


def test_in_words(main: Main, tmp_path: Path) -> None:
    output = tmp_path / "overlay.png"
    status, out, said = main("everything", PICTURE, *FEW, "-o", output)
    assert (status, said) == (0, "")
    assert re.fullmatch(rf"\d+ masks, \d+\.\d\d s; wrote {re.escape(str(output))}\n", out)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing.png"], 2, "nothing.png: expected a readable image file"),
        (["nothing.png", "-o", "/nowhere/a.png"], 2, "cannot write /nowhere/a.png"),
        ([__file__], 2, "test_everything.py: expected an image that Pillow reads"),
        ([PICTURE, "--points-per-side", "0"], 2, "points_per_side: expected an integer within 1"),
        ([PICTURE, "--points-per-side", "1.5"], 2, "invalid int value"),
        ([PICTURE, "--box-nms-thresh", "nan"], 2, "box_nms_thresh: expected a number within 0..1"),
        ([PICTURE, "--points", "8"], 2, "unrecognized arguments: --points"),
        ([PICTURE, "--on-server", "--in-client"], 2, "not allowed with argument --on-server"),
        ([PICTURE, "--concurrency", "0"], 2, "expected a whole number above 0"),
        ([PICTURE, "--header", "token"], 2, "expected NAME:VALUE"),
        ([PICTURE, "--root-certificates", "none.pem"], 2, "expected a readable PEM file"),
        ([PICTURE, "--private-key", __file__], 2, "certificate_chain and private_key together"),
        ([PICTURE, "--url", "127.0.0.1:1"], 1, "nothing answers"),
        ([PICTURE, "--tls"], 1, "127.0.0.1"),
        ([PICTURE.parent], 2, "expected -o with the folder to write to"),
        ([PICTURE.parent, "-o", PICTURE.parent], 2, "expected -o with a folder other than"),
        ([PICTURE.parents[1] / "docker", "-o", "/nowhere"], 2, "expected images (.avif"),
        ([PICTURE.parent, "-o", PICTURE], 2, "scene.png: File exists"),
    ],
)
def test_mistakes(main: Main, arguments: list[object], status: int, message: str) -> None:
    ended, out, said = main("everything", *arguments)
    assert (ended, out) == (status, "")
    assert message in said


def test_a_timeout(main: Main, fake: str) -> None:
    """Of a fake server: a deadline that passes as the request arrives can end tritonserver 2.51."""
    line = ("everything", PICTURE, "--in-client", "--timeout", "0.001", "--url", fake)
    status, out, said = main(*line)
    assert (status, out) == (1, "")
    assert "expected an answer within" in said


def test_who_reads_the_output_may_go(command: Callable[..., list[str]]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    line = command("everything", PICTURE, *FEW, "--json")
    done = subprocess.run(line, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_behind_standard_output(command: Callable[..., list[str]], fake: str) -> None:
    with open("/dev/full", "w") as full:
        line = command("everything", PICTURE, *FEW, "--json", "--url", fake)
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr == "slimsam: error: [Errno 28] No space left on device\n"


def test_the_version(main: Main) -> None:
    status, out, _ = main("--version")
    assert status == 0 and re.fullmatch(r"\d+\.\d+\.\d+\n", out)
