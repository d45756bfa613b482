"""Steps for AOTInductor's packages, which need what `slimsam_build.targets` needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from torch import nn
from transformers import SamModel

from benchmarks.gpu import graph_steps, sides
from benchmarks.gpu.setting import Setting
from slimsam_build import parity
from slimsam_build.graphs import BoundedDecoder
from slimsam_build.graphs.kernel_encoder import KernelEncoder
from slimsam_build.targets import aoti_target
from slimsam_client.contract import DECODER, ENCODER, ModelSpec

COMPILED: Final[Mapping[str, tuple[ModelSpec, Callable[[SamModel], nn.Module]]]] = {
    "encode": (ENCODER, KernelEncoder),
    "decode": (DECODER, BoundedDecoder),
}


def compiled(
    setting: Setting, precision: str, stage: str, sizes: Sequence[int]
) -> graph_steps.Figures:
    """Compile the encoder or the decoder to an AOTInductor package, gate it, and time it.

    The other one is PyTorch's at the gate.
    """
    model = setting.model()
    spec, graph = COMPILED[stage]
    path = setting.directory / f"{spec.name}-{precision}.pt2"
    if not path.exists():
        part = path.with_stem(f"{path.stem}.part")  # the step may be cut
        aoti_target.export(graph(model).eval(), spec, part, precision)
        part.replace(path)
    plain = sides.graphs(model, setting.device, precision)
    package = aoti_target.load_on_device(path)
    found = {
        graph_steps.SAM_MODEL: sides.sam_model(model, setting.device, precision),
        "ours, PyTorch": sides.ours(plain, setting.device),
        "ours, AOTInductor": sides.ours({**plain, spec: package}, setting.device),
    }
    timed = graph_steps.times(setting, precision, stage, setting.sizes(*sizes), found)
    runs = {each: graph_steps.run_of(plain[each], each, setting.device) for each in plain}
    runs[spec] = aoti_target.load(path, spec, precision)
    measured = parity.measure(runs[ENCODER], runs[DECODER], model, batches=True)
    return {**graph_steps.gated(measured, precision, parity.BOUNDS), "parts": [timed]}
