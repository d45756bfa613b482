"""Steps that need PyTorch and transformers alone: arithmetic, the gate, encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import torch

from benchmarks.comparison.flops import decoder_flops, encoder_flops
from benchmarks.comparison.gemm_peak import gemm_peak
from benchmarks.gpu import sides
from benchmarks.gpu.measure import compare, timer_of
from benchmarks.gpu.setting import Setting
from slimsam_build import parity
from slimsam_build.errors import ParityError
from slimsam_build.graphs.precision import DTYPES
from slimsam_client.contract import DECODER, ENCODER, Arrays, ModelSpec

Figures = dict[str, Any]
GEMM_SIDES: Final = {"cuda": (4096, 8192), "cpu": (512,)}
SAM_MODEL: Final = "SamModel, sdpa"


def peak(setting: Setting) -> Figures:
    """Measure the fastest product of matrices, in GFLOP/s, by precision."""
    timer, shapes = timer_of(setting.device), GEMM_SIDES[setting.device]
    return {
        "gflops": {
            precision: gemm_peak(dtype, setting.device, shapes, timer)
            for precision, dtype in DTYPES.items()
            # A CPU multiplies float16 as slowly as it can.
            if setting.device == "cuda" or precision != "fp16"
        }
    }


def gate(setting: Setting, precision: str) -> Figures:
    """Run our graphs in PyTorch beside `SamModel` in float32 on the CPU, by the build's gate."""
    model = setting.model()
    models = sides.graphs(model, setting.device, precision)
    encoder, decoder = (run_of(models[spec], spec, setting.device) for spec in (ENCODER, DECODER))
    return gated(parity.measure(encoder, decoder, model, batches=True), precision, parity.BOUNDS)


def gated(measured: parity.Measured, precision: str, bounds: Any) -> Figures:
    """Give the gate's figures, and what it refuses."""
    refused = None
    try:
        parity.check(measured.figures, precision, bounds)
    except ParityError as error:
        refused = str(error)
    return {"precision": precision, "parity": asdict(measured.figures), "refused": refused}


def encode(setting: Setting, precision: str, batches: Sequence[int]) -> Figures:
    """Time encoders for batches of images, and compare their embeddings."""
    return times(setting, precision, "encode", setting.sizes(*batches), _both(setting, precision))


def decode(setting: Setting, precision: str, prompts: Sequence[int]) -> Figures:
    """Time decoders for clicks on one image, and compare their masks."""
    return times(setting, precision, "decode", setting.sizes(*prompts), _both(setting, precision))


def fast(setting: Setting, batches: Sequence[int]) -> Figures:
    """Time `SamModel`'s encoder with segment-anything-fast's settings."""
    model = setting.model()
    found = {
        SAM_MODEL: sides.sam_model(model, setting.device, "bf16"),
        "the same, compiled": sides.sam_model(model, setting.device, "bf16", compiled=True),
        "ours, PyTorch": sides.ours(sides.graphs(model, setting.device, "bf16"), setting.device),
    }
    return times(setting, "bf16", "encode", setting.sizes(*batches), found)


def times(
    setting: Setting,
    precision: str,
    stage: str,
    sizes: Sequence[int],
    found: dict[str, sides.Side],
) -> Figures:
    """Compare and time sides in one stage, for each size.

    Args:
        setting: of the run.
        precision: in which the sides compute.
        stage: "encode" or "decode".
        sizes: images, or clicks.
        found: the sides by name.
    """
    model = setting.model()
    exact = sides.sam_model(model, setting.device, "fp32")
    rows = []
    for size in sizes:
        calls = {name: getattr(side, stage)(size) for name, side in found.items()}
        # One image is enough to compare with: that of all rows is the same.
        expected = exact.encode(1) if stage == "encode" else exact.decode(size)
        counted = (
            encoder_flops(model) * size if stage == "encode" else decoder_flops(model, size)
        ).fewest
        measured = compare(calls, expected, precision, setting.device, setting.rounds)
        rows.append({"size": size, "flops": counted, "sides": measured})
    return {"precision": precision, "stage": stage, "rows": rows}


def _both(setting: Setting, precision: str) -> dict[str, sides.Side]:
    model = setting.model()
    return {
        SAM_MODEL: sides.sam_model(model, setting.device, precision),
        "ours, PyTorch": sides.ours(sides.graphs(model, setting.device, precision), setting.device),
    }


def run_of(model: sides.OnDevice, spec: ModelSpec, device: str) -> parity.Run:
    """Run a model on arrays, as the gate does."""

    def run(arrays: Arrays) -> Arrays:
        given = [torch.from_numpy(arrays[tensor.name]).to(device) for tensor in spec.inputs]
        with torch.inference_mode():
            found = model(*given)
        outputs = found if isinstance(found, tuple) else (found,)
        return {t.name: o.cpu().numpy() for t, o in zip(spec.outputs, outputs, strict=True)}

    return run
