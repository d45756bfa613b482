"""The attention kernel as a plugin of TensorRT whose code lies in the plan.

A quickly deployable plugin that is compiled ahead of time (TensorRT 10.9 and later): while a plan
is built, `tensorrt.plugin` asks Python for the kernel in PTX and for its launch, in terms of the
batch. Both become part of the plan, and what runs it needs neither Python nor a library of ours.

TensorRT passes a kernel its inputs, then scalars, then outputs (`tensorrt.plugin.aot_impl`), and
nothing else. The attention kernel has no scalars: how many images or windows there are it reads
from the launch.
"""

# Without postponed annotations: `tensorrt.plugin` reads the types of a plugin's arguments.

import importlib
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import onnx
import torch
from torch import nn

from slimsam_build.attention_rule import find_blocks, this_card
from slimsam_build.errors import TargetError
from slimsam_build.graphs.plugin_encoder import DOMAIN, NAME
from slimsam_build.graphs.precision import cast
from slimsam_build.targets import onnx_target
from slimsam_build.targets.tensorrt.parser import check_for_tensorrt
from slimsam_client.contract import ModelSpec

ARGUMENTS: Final = 4
"""Of the kernel: qkv, rel_h, rel_w; and the output."""
DTYPES: Final = {"HALF": "fp16", "BF16": "bf16"}
"""Triton's names of TensorRT's types."""
PTX_VERSIONS: Final = {80: 80, 100: 86, 103: 88, 110: 90, 120: 87, 121: 88}
"""By compute capability, both times ten: the first that has the card (PTX ISA, release notes), but
8.0, CUDA 12.0's, at least. Triton itself writes the newest that its assembler knows, and what
compiles the plan's code may be older."""


class Code(NamedTuple):
    """The kernel for one card and one size of attention.

    Attributes:
        name: of its entry.
        ptx: NVIDIA's intermediate code, whose entry has `ARGUMENTS` parameters.
        programs: of a head and group: blocks of queries.
        threads: of a program.
        shared: bytes of shared memory of a program.
    """

    name: str
    ptx: str
    programs: int
    threads: int
    shared: int


def compile_to_ptx(card: int, dtype: str, heads: int, grid: int, d: int) -> Code:
    """Compile the kernel for a card that need not be there.

    Args:
        card: its compute capability, times ten; 80 or more.
        dtype: "fp16" or "bf16".
        heads: how many.
        grid: side of the grid of tokens.
        d: channels of a head, of `attention_rule.WIDTHS`.

    Raises:
        TargetError: Triton made code that TensorRT could not launch.
    """
    from slimsam_build.attention_kernel import compile_for  # needs the package `triton`

    blocks = find_blocks(card, d)
    version = PTX_VERSIONS[max(known for known in PTX_VERSIONS if known <= card)]
    compiled = compile_for(card, dtype, heads, grid, d, blocks, version)
    metadata = compiled.metadata
    # A name for each code, in case that TensorRT looks compiled code up by its name.
    name = f"{NAME}_{heads}_{grid}_{d}_{dtype}"
    return Code(
        name=name,
        ptx=as_tensorrt_launches_it(compiled.asm["ptx"], metadata.name, name),
        programs=-(-(grid * grid) // blocks.queries),
        threads=metadata.num_warps * metadata.warp_size,
        shared=metadata.shared,
    )


def as_tensorrt_launches_it(ptx: str, entry: str, name: str) -> str:
    """Rename a kernel, and drop the parameters that Triton appends to each, for scratch memory.

    TensorRT passes none, and a launch would read their values from where none are.

    Args:
        ptx: Triton's.
        entry: the kernel's name in it.
        name: its new one.

    Raises:
        TargetError: there are fewer than `ARGUMENTS` parameters, or the code reads one of the
            others.
    """
    found = re.search(rf"\.entry\s+{re.escape(entry)}\s*\(([^)]*)\)", ptx)
    parameters = [each.strip() for each in found[1].split(",")] if found else []
    if found is None or len(parameters) < ARGUMENTS:
        raise TargetError(
            f"PTX of {entry}: expected {ARGUMENTS} parameters, found {len(parameters)}; "
            "use the version of triton in constraints.txt"
        )
    code = ptx[found.end() :]
    dropped = [each.split()[-1] for each in parameters[ARGUMENTS:]]
    if read := [each for each in dropped if re.search(rf"\b{re.escape(each)}\b", code)]:
        raise TargetError(
            f"PTX of {entry}: expected a kernel that needs no scratch memory, it reads "
            f"{', '.join(read)}; use the version of triton in constraints.txt"
        )
    kept = ",\n\t".join(parameters[:ARGUMENTS])
    return f"{ptx[: found.start()]}.entry {name}(\n\t{kept}\n){code}"


def register() -> None:
    """Register the plugin with TensorRT, in this process.

    Raises:
        TargetError: this TensorRT has no plugins that are compiled ahead of time.
    """
    trt = importlib.import_module("tensorrt")
    if why := missing(trt):
        raise TargetError(why)
    trtp: Any = importlib.import_module("tensorrt.plugin")
    plugin = f"{DOMAIN}::{NAME}"

    def shape(
        qkv: trtp.TensorDesc, rel_h: trtp.TensorDesc, rel_w: trtp.TensorDesc
    ) -> trtp.TensorDesc:
        groups, count, _, heads, d = qkv.shape_expr
        return trtp.from_shape_expr((groups, count, heads, d), qkv.dtype)

    def launch(
        qkv: trtp.TensorDesc,
        rel_h: trtp.TensorDesc,
        rel_w: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        # No attributes: releases differ in how they hand over those of an ONNX node.
        heads, d = (qkv.shape_expr[axis].constant_value() for axis in (3, 4))
        grid = rel_h.shape_expr[0].constant_value()
        card = this_card(torch.device("cuda"))
        code = compile_to_ptx(card, DTYPES[qkv.dtype.name], heads, grid, d)
        params = trtp.KernelLaunchParams(
            grid_x=code.programs,
            grid_y=heads,
            grid_z=qkv.shape_expr[0],
            block_x=code.threads,
            shared_mem=code.shared,
        )
        return code.name, code.ptx, params, trtp.SymIntExprs(0)

    trtp.register(plugin)(shape)
    trtp.aot_impl(plugin)(launch)


def missing(trt: Any) -> str | None:
    """Say what a module `tensorrt` lacks for the plugin, or None.

    TensorRT-RTX has none of these classes, and aborts the process where a graph has such a node.
    """
    if hasattr(trt, "IPluginV3QuickAOTBuild") and hasattr(trt, "QuickPluginCreationRequest"):
        return None
    return (
        f"TensorRT {trt.__version__} has no plugins that are compiled ahead of time; "
        "10.9 and later have"
    )


def export(graph: nn.Module, spec: ModelSpec, path: Path, precision: str) -> None:
    """Export a `PluginEncoder` in its precision and check the file.

    Raises:
        TargetError: but for the plugin's, a node is none that TensorRT's parser takes.
    """
    onnx_target.write(cast(graph, precision), spec, path)
    check_for_tensorrt(path, plugins=frozenset({NAME}))


def needs_plugin(path: Path) -> bool:
    """Whether an ONNX file has the plugin's node."""
    return any(node.domain == DOMAIN for node in onnx.load(path).graph.node)
