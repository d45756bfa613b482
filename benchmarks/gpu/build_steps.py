"""Steps that build for Triton and serve: TensorRT's plans, everything mode, and a real server.

Their imports want all packages of slimsam-build, and some more; `steps` says which.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.comparison.everything import choose_settings
from benchmarks.comparison.interleave import Call, in_turn
from benchmarks.comparison.mask_generation import make_pipeline
from benchmarks.comparison.scene import make_scene
from benchmarks.comparison.sides import sam_model, served
from benchmarks.gpu import graph_steps, sides
from benchmarks.gpu.everything_sides import OnDevice
from benchmarks.gpu.setting import Setting
from benchmarks.repository import built_repository, empty_copy
from slimsam_build import parity
from slimsam_build.graphs.precision import DTYPES
from slimsam_build.pipeline import build
from slimsam_build.repository import max_batch_size
from slimsam_build.targets import TARGETS
from slimsam_build.targets.tensorrt.plan import load_on_device
from slimsam_client import GenerateSettings
from slimsam_client.contract import DECODER, ENCODER
from slimsam_server import EmbeddedServer

ROUNDS: Final = 2
"""Of everything mode, which takes seconds."""


def plan(setting: Setting, precision: str) -> graph_steps.Figures:
    """Build and gate TensorRT's plans; without a card its ONNX, which NVIDIA's builder takes."""
    shutil.rmtree(setting.repository, ignore_errors=True)
    empty_copy(setting.repository)
    lines: list[str] = []
    built = build(setting.load(), "tensorrt", precision, setting.repository, lines.append)
    return {
        "precision": built.precision,
        "parity": dataclasses.asdict(built.measured.figures),
        "refused": "; ".join(built.refused) or None,
        "not done": built.unfinished,
        "said": lines,
    }


def plan_times(setting: Setting, precision: str) -> graph_steps.Figures:
    """Time the plans that `plan` built, beside `SamModel`."""
    models = {}
    for spec in (ENCODER, DECODER):
        path = setting.repository / spec.name / "1" / "model.plan"
        models[spec] = load_on_device(
            path, spec, max_batch_size(setting.repository, spec, "tensorrt")
        )
    found = {
        graph_steps.SAM_MODEL: sides.sam_model(setting.model(), setting.device, precision),
        "ours, TensorRT": sides.ours(models, setting.device),
    }
    encoded = graph_steps.times(setting, precision, "encode", setting.sizes(1, 2, 4, 8), found)
    decoded = graph_steps.times(setting, precision, "decode", setting.sizes(1, 8, 64), found)
    return {"precision": precision, "parts": [encoded, decoded]}


def everything(setting: Setting, precision: str) -> graph_steps.Figures:
    """Time everything mode, from the picture to records, beside transformers' pipeline."""
    model, across, precision = setting.model(), setting.points_across, setting.able(precision)
    with tempfile.TemporaryDirectory() as name:
        scene = make_scene(model, Path(name))
    settings, _ = choose_settings(sam_model(scene, model, with_pipeline=False), scene)
    settings = dataclasses.replace(settings, points_per_side=across)
    ours = OnDevice(model, setting.device, precision)
    pipeline = make_pipeline(model.to(setting.device, DTYPES[precision]))
    found: dict[str, int] = {}

    def count(side: str, call: Any) -> None:
        found[side] = len(call())

    calls = {
        graph_steps.SAM_MODEL: lambda: pipeline(scene.photo, settings)[0],
        "ours, masks in NumPy": lambda: ours.generate(scene.photo, settings, in_graph=False),
        "ours, masks in the graph": lambda: ours.generate(scene.photo, settings, in_graph=True),
    }
    counting: dict[str, Call] = {side: partial(count, side, call) for side, call in calls.items()}
    for call in counting.values():
        call()
    seconds = in_turn(counting, min(setting.rounds, ROUNDS))
    rows = {
        side: {"seconds": statistics.median(times), "times": times, "masks": found[side]}
        for side, times in seconds.items()
    }
    return {"precision": precision, "points": across**2, "sides": rows}


def serve(setting: Setting, precision: str) -> graph_steps.Figures:
    """Serve on this machine, and time through gRPC: encoder, ensemble, a click, everything mode."""
    checkpoint, precision = setting.load(), setting.able(precision)
    across = setting.points_across
    settings = GenerateSettings(points_per_side=across)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        scene = make_scene(checkpoint.model, Path(name))
        with (
            built_repository(checkpoint, "torchscript", precision) as repository,
            EmbeddedServer(repository, "torchscript") as server,
            served(scene, server.grpc_url) as side,
        ):
            assert side.ensemble is not None and side.generate is not None
            calls: dict[str, Call] = {
                "encoder": side.encode,
                "ensemble": side.ensemble,
                "click": side.click,
                f"everything, {across**2} points": partial(side.generate, settings),
            }
            for call in calls.values():
                call()
            seconds = in_turn(calls, setting.rounds)
    return {
        "precision": precision,
        "served by": "tritonserver's stand-ins of this project's embedded server",
        "sides": {
            name: {"seconds": statistics.median(times), "times": times}
            for name, times in seconds.items()
        },
    }


def onnxruntime(setting: Setting, precision: str) -> graph_steps.Figures:
    """Gate ONNX Runtime's artifacts on the card."""
    target = TARGETS["onnxruntime"]
    if setting.device == "cuda" and not target.uses_cuda():
        return {"not done": "the package onnxruntime has no CUDA here; onnxruntime-gpu has"}
    model = setting.model()
    with tempfile.TemporaryDirectory() as name:
        runs = []
        for spec in (ENCODER, DECODER):
            path = Path(name) / f"{spec.name}.onnx"
            target.export(target.graphs_here[spec](model).eval(), spec, path, precision)
            runs.append(target.load(path, spec, precision))
        encoder, decoder = runs
        measured = parity.measure(encoder, decoder, model, batches=True)
    found = graph_steps.gated(measured, precision, target.bounds)
    seconds = {"encode": measured.encode_seconds, "decode": measured.decode_seconds}
    return {**found, "with copies to the card and back": seconds}
