"""The attention kernel in a TensorRT plan, up to TensorRT's libraries, which are not here.

`tensorrt.plugin` is NVIDIA's own; below it stands `tests/tensorrt_border`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from transformers import SamModel

from slimsam_build import attention_rule
from slimsam_build.apart import Apart
from slimsam_build.checkpoints import Checkpoint
from slimsam_build.errors import TargetError
from slimsam_build.graphs.fused_encoder import FusedVisionAttention
from slimsam_build.graphs.plugin_encoder import (
    GridAttentionNode,
    PluginEncoder,
    PluginVisionAttention,
)
from slimsam_build.targets import TARGETS
from slimsam_build.targets.target import Job
from slimsam_build.targets.tensorrt import (
    attention_choice,
    attention_plugin,
    attention_trial,
    plan,
    rehearsal,
)
from slimsam_build.targets.tensorrt.builder import Recipe, build_serialized
from slimsam_client.contract import ENCODER

pytest.importorskip("triton", reason="the package triton has no wheel for this machine")

BORDER = Path(__file__).parents[1] / "tensorrt_border"
CARDS = (80, 86, 89, 90, 100, 120)


@pytest.fixture(scope="module", autouse=True)
def compiled_anew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Without what an earlier run compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The border, as the package `tensorrt`, on a machine whose card is an H100."""
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("tensorrt-cu12-bindings is not installed")
    assert importlib.util.find_spec("tensorrt") is None
    monkeypatch.syspath_prepend(str(BORDER))
    monkeypatch.setattr(attention_plugin, "this_card", lambda device: 90)
    yield importlib.import_module("tensorrt")
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorrt"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[SamModel, str], Path]:
    """Export an encoder with the plugin's nodes, once in each precision."""
    done: dict[str, Path] = {}

    def export(model: SamModel, precision: str) -> Path:
        if precision not in done:
            path = tmp_path_factory.mktemp(precision) / "model.kernel.onnx"
            attention_plugin.export(PluginEncoder(model).eval(), ENCODER, path, precision)
            done[precision] = path
        return done[precision]

    return export


def recipe(path: Path, precision: str = "fp16") -> Recipe:
    return Recipe(path, plan.profile_shapes(ENCODER, 8), precision, timing_cache=b"")


def launched(grid: int, groups: int, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """The launch of the operator in PyTorch, for SlimSAM-77's heads."""
    from slimsam_build import attention_kernel

    seen: list[dict[str, int]] = []

    def record(kernel: Any) -> Any:
        def launch(*arguments: Any, num_warps: int, **others: Any) -> None:
            seen.append({"block_x": 32 * num_warps, "arguments": len(arguments)})

        return _By(launch, seen)

    patch.setattr(attention_kernel, "wrap_triton", record)
    patch.setattr(attention_kernel, "this_card", lambda device: 90)
    sizes = ((groups, grid * grid, 3, 12, 16), (grid, grid, groups, 12, grid))
    rel_w = torch.empty((grid, groups, 12, grid, grid), device="meta")
    qkv, rel_h = (torch.empty(size, device="meta") for size in sizes)
    attention_kernel.grid_attention._init_fn(qkv, rel_h, rel_w)
    (found,) = seen
    return found


class _By:
    """`kernel[programs](...)`, recorded."""

    def __init__(self, launch: Callable[..., None], seen: list[dict[str, int]]) -> None:
        self.launch, self.seen = launch, seen

    def __getitem__(self, programs: tuple[int, int, int]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            self.launch(*arguments, **options)
            self.seen[-1] |= dict(zip(("grid_x", "grid_y", "grid_z"), programs, strict=True))

        return launch


def test_nvidias_plugin_module_takes_the_plugin_and_asks_for_what_pytorch_launches(
    tensorrt: Any,
    exported: Callable[[SamModel, str], Path],
    shallow: Callable[[str], SamModel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attention_plugin.register()
    path = exported(shallow("slimsam-77"), "fp16")
    built, _ = build_serialized(tensorrt, tensorrt.Logger(), recipe(path))
    asked = json.loads(built)
    assert len(asked) == 3
    for layer, n in zip(asked, (14, 14, 64), strict=True):
        assert layer["inputs"] == [[-1, n * n, 3, 12, 16], [n, n, -1, 12, n], [n, -1, 12, n, n]]
        assert layer["output"] == [-1, n * n, 12, 16]
        assert layer["types"] == ["HALF"] * 4
        # Inputs and outputs are all that is passed, and all that the kernel has.
        assert layer["scalars"] == 0 and parameters(layer["ptx"], layer["name"]) == [".u64"] * 4
        for groups, found in layer["launches"].items():
            with monkeypatch.context() as patch:
                expected = launched(n, int(groups), patch)
            assert expected.pop("arguments") == 4
            assert expected.items() <= found.items()
            assert (found["block_y"], found["block_z"]) == (1, 1)
            assert found["shared_mem"] > 0
    window, _, whole = (layer["name"] for layer in asked)
    assert window == "grid_attention_12_14_16_fp16" and whole == "grid_attention_12_64_16_fp16"


def test_bfloat16(
    tensorrt: Any,
    exported: Callable[[SamModel, str], Path],
    small: SamModel,
) -> None:
    attention_plugin.register()
    path = exported(small, "bf16")
    built, _ = build_serialized(tensorrt, tensorrt.Logger(), recipe(path, "bf16"))
    for layer in json.loads(built):
        assert layer["types"] == ["BF16"] * 4
        assert re.search(r"mma\S*\.f32\.bf16\.bf16", layer["ptx"])


def test_without_the_plugin_the_graph_is_refused(
    tensorrt: Any, exported: Callable[[SamModel, str], Path], shallow: Callable[[str], SamModel]
) -> None:
    path = exported(shallow("slimsam-77"), "fp16")
    with pytest.raises(TargetError, match="Plugin not found: grid_attention"):
        build_serialized(tensorrt, tensorrt.Logger(), recipe(path))


def test_an_aborting_builder_ends_its_own_process(
    exported: Callable[[SamModel, str], Path],
    shallow: Callable[[str], SamModel],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("tensorrt-cu12-bindings is not installed")
    path = exported(shallow("slimsam-77"), "fp16")
    monkeypatch.setenv("PYTHONPATH", str(BORDER))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abort").touch()
    with Apart() as apart, pytest.raises(TargetError, match="^build_with_plugin died: .*SIGABRT$"):
        apart.call(300, attention_trial.build_with_plugin, recipe(path), tmp_path / "model.plan")
    assert not (tmp_path / "model.plan").exists()


def test_tensorrt_rtx_never_gets_the_plugin(
    exported: Callable[[SamModel, str], Path], shallow: Callable[[str], SamModel]
) -> None:
    """It aborts the process, this one; and has none of the classes."""
    path = exported(shallow("slimsam-77"), "fp16")
    with pytest.raises(TargetError, match="expected a graph without plugins"):
        rehearsal.rehearse(recipe(path))
    if rehearsal.missing() is None:
        found = attention_plugin.missing(importlib.import_module(rehearsal.MODULE))
        assert found is not None and "has no plugins that are compiled ahead of time" in found


@pytest.mark.parametrize("card", CARDS)
def test_its_code_is_assembled_for_every_card(card: int, tmp_path: Path) -> None:
    import triton

    tools = Path(triton.__file__).parent / "backends/nvidia/bin"
    assembler = tools / ("ptxas-blackwell" if card >= 100 else "ptxas")
    for grid, d, dtype in ((64, 16, "fp16"), (14, 80, "bf16")):
        code = attention_plugin.compile_to_ptx(card, dtype, 12, grid, d)
        assert parameters(code.ptx, code.name) == [".u64"] * attention_plugin.ARGUMENTS
        (architecture,) = re.findall(rf"^\.target (sm_{card}a?)\b", code.ptx, re.M)
        # A driver takes what its CUDA had, and TensorRT 10.9 came with 12.8, whose PTX is 8.7.
        (version,) = re.findall(r"^\.version (\d)\.(\d)$", code.ptx, re.M)
        assert version <= ("8", "7")
        (tmp_path / "kernel.ptx").write_text(code.ptx)
        said = subprocess.run(
            [assembler, "-v", f"-arch={architecture}", "kernel.ptx", "-o", "kernel.cubin"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stderr
        assert f"'{code.name}'" in said and "0 bytes spill stores" in said
        blocks = attention_rule.find_blocks(card, d)
        assert code.threads == 32 * blocks.warps
        assert code.programs * blocks.queries >= grid * grid > (code.programs - 1) * blocks.queries


def parameters(ptx: str, name: str) -> list[str]:
    """Types of a kernel's parameters."""
    (found,) = re.findall(rf"\.entry {name}\(([^)]*)\)", ptx)
    return [each.split()[1] for each in found.split(",")]


def test_ptx_that_tensorrt_could_not_launch() -> None:
    def ptx(count: int, code: str = "") -> str:
        listed = ", ".join(f".param .u64 k_param_{i}" for i in range(count))
        return f".version 8.0\n.visible .entry k({listed})\n{{\n{code}\nret;\n}}"

    renamed = attention_plugin.as_tensorrt_launches_it
    assert parameters(renamed(ptx(6, "ld.param.b64 %rd1, [k_param_3];"), "k", "new"), "new") == (
        [".u64"] * 4
    )
    with pytest.raises(TargetError, match="no scratch memory, it reads k_param_5"):
        renamed(ptx(6, "ld.param.b64 %rd1, [k_param_5];"), "k", "new")
    with pytest.raises(TargetError, match="expected 4 parameters, found 3"):
        renamed(ptx(3), "k", "new")
    with pytest.raises(TargetError, match="expected 4 parameters, found 0"):
        renamed(ptx(4), "other", "new")


def test_the_node_is_the_attention_in_pytorch(shallow: Callable[[str], SamModel]) -> None:
    source = shallow("slimsam-77").vision_encoder.layers[0].attn
    tokens = torch.randn(2, 196, 168, generator=torch.Generator().manual_seed(0))
    expected = FusedVisionAttention(source, 14)(tokens)
    found = PluginVisionAttention(source, 14)(tokens)
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_node_has_what_parsers_look_it_up_by(
    exported: Callable[[SamModel, str], Path], shallow: Callable[[str], SamModel]
) -> None:
    model = onnx.load(exported(shallow("slimsam-77"), "fp16"))
    assert {each.domain: each.version for each in model.opset_import} == {"": 17, "slimsam": 1}
    nodes = [node for node in model.graph.node if node.domain]
    assert len(nodes) == 3 and "Softmax" not in {node.op_type for node in model.graph.node}
    for node in nodes:
        assert (node.domain, node.op_type) == ("slimsam", "grid_attention")
        found = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        assert found == {"plugin_namespace": b"slimsam", "plugin_version": b"1", "aot": 1}


def job(precision: str, **vision: Any) -> Job:
    settings = {"use_rel_pos": True, "hidden_size": 168, "num_attention_heads": 12, **vision}
    config = SimpleNamespace(vision_config=SimpleNamespace(**settings))
    model: Any = SimpleNamespace(config=config)
    return Job(Checkpoint("any", model, "0" * 64), TARGETS["tensorrt"], precision, Path())


def test_where_the_kernel_is_not_tried(tensorrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    capability = (9, 0)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    refusal = attention_choice.refusal
    assert refusal(job("fp16")) is None and refusal(job("bf16")) is None
    assert "float32 on a GPU" in (refusal(job("fp32")) or "")
    assert refusal(job("fp16", use_rel_pos=False)) == "the checkpoint has no relative positions"
    assert "heads of 24 channels" in (refusal(job("fp16", hidden_size=288)) or "")
    with monkeypatch.context() as patch:
        patch.delattr(tensorrt, "QuickPluginCreationRequest")
        patch.setattr(tensorrt, "__version__", "10.8.0")
        assert refusal(job("fp16")) == (
            "TensorRT 10.8.0 has no plugins that are compiled ahead of time; 10.9 and later have"
        )
    capability = (7, 5)
    assert refusal(job("fp16")) == "compute capability 7.5; the kernel needs 8.0"
    capability = (9, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(job("fp16")) == "the package triton is not installed"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("grid", "groups", "d"), [(14, 25, 16), (64, 2, 16), (14, 3, 64)])
def test_a_card_computes_it_as_tensorrt_launches_it(
    grid: int, groups: int, d: int, dtype: torch.dtype
) -> None:
    """The plan's code, by the driver: three inputs, an output, and nothing else."""
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    if reason := attention_rule.refusal(torch.device("cuda"), dtype, d):
        pytest.skip(reason)
    card = attention_rule.this_card(torch.device("cuda"))
    name = {torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    code = attention_plugin.compile_to_ptx(card, name, 12, grid, d)
    random = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, device="cuda").to(dtype)

    qkv = normal(groups, grid * grid, 3, 12, d)
    qkv[:, :, 0] *= d**-0.5
    rel_h, rel_w = normal(grid, grid, groups, 12, grid), normal(grid, groups, 12, grid, grid)
    out = torch.full((groups, grid * grid, 12, d), torch.nan, dtype=dtype, device="cuda")
    expected = GridAttentionNode.apply(*(each.float() for each in (qkv, rel_h, rel_w)))
    launch(code, (code.programs, 12, groups), [qkv, rel_h, rel_w, out])
    error = (out.float() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}[dtype]


def launch(
    code: attention_plugin.Code, programs: tuple[int, int, int], tensors: list[torch.Tensor]
) -> None:
    """Have the driver compile and start a kernel, and wait for it."""
    driver = ctypes.CDLL("libcuda.so.1")

    def done(status: int) -> None:
        assert status == 0, f"CUDA error {status}"

    torch.cuda.synchronize()  # the inputs are there, and a context is
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    done(driver.cuModuleLoadData(ctypes.byref(module), code.ptx.encode()))
    done(driver.cuModuleGetFunction(ctypes.byref(function), module, code.name.encode()))
    pointers = [ctypes.c_void_p(each.data_ptr()) for each in tensors]
    arguments = (ctypes.c_void_p * len(pointers))(*(ctypes.addressof(each) for each in pointers))
    sizes = (*programs, code.threads, 1, 1, code.shared)
    done(driver.cuLaunchKernel(function, *map(ctypes.c_uint, sizes), None, arguments, None))
    torch.cuda.synchronize()
    done(driver.cuModuleUnload(module))
